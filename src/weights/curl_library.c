#include "weights/curl_library.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define OLDEST_VERSION 0x075500u /* 7.85.0 */

static pthread_once_t once = PTHREAD_ONCE_INIT;
static tmb_curl functions;
static bool loaded;
static char reason[256]; /* why not */

/* A function pointer through memory: ISO C has no conversion from the void pointer that dlsym returns. */
static bool find(void *library, const char *name, void *function) {
    void *address = dlsym(library, name);
    memcpy(function, &address, sizeof address);
    return address != NULL;
}

static void load(void) {
    CURLcode (*global_init)(long flags) = NULL;
    void *library = dlopen("libcurl.so.4", RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        const char *message = dlerror();
        (void)snprintf(reason, sizeof reason, "%s", message != NULL ? message : "libcurl.so.4 cannot be loaded");
        return;
    }
    /* CURLOPT_PROTOCOLS_STR, which keeps redirects from leaving HTTP, came with 7.85. */
    curl_version_info_data *(*version_info)(CURLversion age) = NULL;
    const curl_version_info_data *version =
        find(library, "curl_version_info", &version_info) ? version_info(CURLVERSION_NOW) : NULL;
    if (version != NULL && version->version_num < OLDEST_VERSION) {
        (void)snprintf(reason, sizeof reason, "it is version %.40s, and 7.85 or newer is needed", version->version);
        return;
    }
    (void)snprintf(reason, sizeof reason, "libcurl.so.4 lacks functions or cannot start");
    loaded = find(library, "curl_global_init", &global_init) && find(library, "curl_easy_init", &functions.easy_init) &&
             find(library, "curl_easy_setopt", &functions.easy_setopt) &&
             find(library, "curl_easy_getinfo", &functions.easy_getinfo) &&
             find(library, "curl_easy_perform", &functions.easy_perform) &&
             find(library, "curl_easy_cleanup", &functions.easy_cleanup) &&
             find(library, "curl_easy_strerror", &functions.easy_strerror) &&
             find(library, "curl_easy_pause", &functions.easy_pause) &&
             find(library, "curl_multi_init", &functions.multi_init) &&
             find(library, "curl_multi_add_handle", &functions.multi_add_handle) &&
             find(library, "curl_multi_remove_handle", &functions.multi_remove_handle) &&
             find(library, "curl_multi_perform", &functions.multi_perform) &&
             find(library, "curl_multi_poll", &functions.multi_poll) &&
             find(library, "curl_multi_info_read", &functions.multi_info_read) &&
             find(library, "curl_multi_cleanup", &functions.multi_cleanup) &&
             find(library, "curl_slist_append", &functions.slist_append) &&
             find(library, "curl_slist_free_all", &functions.slist_free_all) &&
             find(library, "curl_mime_init", &functions.mime_init) &&
             find(library, "curl_mime_addpart", &functions.mime_addpart) &&
             find(library, "curl_mime_name", &functions.mime_name) &&
             find(library, "curl_mime_data", &functions.mime_data) &&
             find(library, "curl_mime_filename", &functions.mime_filename) &&
             find(library, "curl_mime_type", &functions.mime_type) &&
             find(library, "curl_mime_free", &functions.mime_free) && find(library, "curl_url", &functions.url) &&
             find(library, "curl_url_set", &functions.url_set) && find(library, "curl_url_get", &functions.url_get) &&
             find(library, "curl_url_cleanup", &functions.url_cleanup) && find(library, "curl_free", &functions.free) &&
             global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
}

tmb_status tmb_curl_load(const tmb_curl **out, tmb_error *error) {
    (void)pthread_once(&once, load);
    *out = &functions;
    if (!loaded) {
        return tmb_fail(error, TMB_ERROR_UNSUPPORTED,
                        "downloads need libcurl, which cannot be used: %s (Debian: apt-get install libcurl4)", reason);
    }
    return TMB_OK;
}
