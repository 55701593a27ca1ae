/* Asks a timbre server for speech in the voice of a recording, and writes it while it is made.
 *
 *   http-clone URL REF TEXT OUT
 *
 * URL is the server's, as http://127.0.0.1:8077; a key, if it wants one, is in TIMBRE_KEY. OUT is a WAV file.
 *
 *   cc clone.c -o http-clone $(pkg-config --cflags --libs libcurl)
 */
#include <curl/curl.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What comes goes to the file if it is audio; otherwise it is the reason why not. */
typedef struct answer {
    CURL *curl;
    const char *path;
    FILE *file;
    size_t bytes;
    char reason[1024];
} answer;

static size_t take(char *data, size_t one, size_t size, void *user) {
    (void)one; /* is 1 */
    answer *to = user;
    long status = 0;
    (void)curl_easy_getinfo(to->curl, CURLINFO_RESPONSE_CODE, &status);
    if (status != 200) {
        size_t length = strlen(to->reason);
        size_t room = sizeof to->reason - 1 - length;
        memcpy(to->reason + length, data, size < room ? size : room);
        return size;
    }
    if (to->file == NULL && (to->file = fopen(to->path, "wb")) == NULL) {
        return 0; /* ends the transfer, and with it the item on the server */
    }
    to->bytes += size;
    return fwrite(data, 1, size, to->file);
}

static bool add_field(curl_mime *form, const char *name, const char *text) {
    curl_mimepart *part = curl_mime_addpart(form);
    return curl_mime_name(part, name) == CURLE_OK && curl_mime_data(part, text, CURL_ZERO_TERMINATED) == CURLE_OK;
}

static bool add_file(curl_mime *form, const char *name, const char *path) {
    curl_mimepart *part = curl_mime_addpart(form);
    return curl_mime_name(part, name) == CURLE_OK && curl_mime_filedata(part, path) == CURLE_OK;
}

static struct curl_slist *headers(void) {
    struct curl_slist *list = curl_slist_append(NULL, "Accept: audio/wav");
    const char *key = getenv("TIMBRE_KEY");
    char line[256];
    if (list != NULL && key != NULL) {
        (void)snprintf(line, sizeof line, "x-api-key: %s", key);
        struct curl_slist *longer = curl_slist_append(list, line);
        if (longer == NULL) {
            curl_slist_free_all(list);
        }
        list = longer;
    }
    return list;
}

/* Returns whether the whole speech is in the file. */
static bool ask(answer *to, const char *server, const char *reference, const char *text) {
    char url[1024];
    CURLcode code = CURLE_OUT_OF_MEMORY;
    curl_mime *form = curl_mime_init(to->curl);
    struct curl_slist *list = headers();
    (void)snprintf(url, sizeof url, "%s/api/v1/voice-clone-enhanced-file", server);
    if (form != NULL && list != NULL && add_field(form, "text", text) && add_file(form, "ref_audio", reference) &&
        add_field(form, "stream", "true")) {
        (void)curl_easy_setopt(to->curl, CURLOPT_URL, url);
        (void)curl_easy_setopt(to->curl, CURLOPT_MIMEPOST, form);
        (void)curl_easy_setopt(to->curl, CURLOPT_HTTPHEADER, list);
        (void)curl_easy_setopt(to->curl, CURLOPT_WRITEFUNCTION, take);
        (void)curl_easy_setopt(to->curl, CURLOPT_WRITEDATA, to);
        code = curl_easy_perform(to->curl);
    }
    curl_mime_free(form);
    curl_slist_free_all(list);
    if (code != CURLE_OK) {
        (void)fprintf(stderr, "http-clone: %s: %s\n", url, curl_easy_strerror(code));
    } else if (to->file == NULL) {
        (void)fprintf(stderr, "http-clone: %s\n", to->reason);
    }
    return code == CURLE_OK && to->file != NULL;
}

int main(int count, char **arguments) {
    if (count != 5) {
        (void)fprintf(stderr, "usage: http-clone URL REF TEXT OUT\n");
        return 2;
    }
    answer to = {.curl = curl_easy_init(), .path = arguments[4]};
    if (to.curl == NULL) {
        return 1;
    }
    bool good = ask(&to, arguments[1], arguments[2], arguments[3]);
    good = (to.file == NULL || fclose(to.file) == 0) && good;
    if (good) {
        (void)printf("%zu bytes\n", to.bytes);
    } else if (to.file != NULL) {
        (void)remove(to.path); /* half a file is no result */
    }
    curl_easy_cleanup(to.curl);
    return good ? 0 : 1;
}
