/* Any bytes as a file of API keys and as the server's configuration file. */
#include "fuzz.h"

#include "server/auth.h"
#include "server/config.h"

#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    int file = memfd_create("fuzz", MFD_CLOEXEC);
    fuzz_check(file >= 0 && write(file, data, size) == (ssize_t)size);
    char path[32];
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    tmb_error error = {0};
    tmb_keys *keys = NULL;
    if (tmb_keys_open(path, 10, &keys, &error) == TMB_OK) {
        char name[TMB_KEY_NAME];
        double wait = 0;
        fuzz_check(tmb_keys_check(keys, NULL, true, name, &wait) == TMB_KEY_UNKNOWN);
        fuzz_check(tmb_keys_check(keys, "never in any of the files", true, name, &wait) == TMB_KEY_UNKNOWN);
        fuzz_check(tmb_keys_reload(keys, &error) == TMB_OK);
    } else {
        fuzz_check(keys == NULL && error.message[0]);
    }
    tmb_keys_close(&keys);
    tmb_server_config config;
    tmb_config_sources sources;
    tmb_config_action action;
    static char option[] = "--config";
    char *arguments[] = {option, path};
    FILE *nowhere = fopen("/dev/null", "w");
    fuzz_check(nowhere != NULL);
    tmb_status status = tmb_server_config_load(&config, &sources, false, 2, arguments, nowhere, &action, &error);
    fuzz_check(status == TMB_OK || error.message[0]);
    tmb_server_config_free(&config, &sources);
    (void)fclose(nowhere);
    (void)close(file);
    return 0;
}

void fuzz_seeds(fuzz_add_seed add) {
    static const char *const inputs[] = {
        "# keys\nanna 0123456789abcdef0123\nbob "
        "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\n",
        "\xef\xbb\xbf"
        "0123456789abcdef\r\n",
        "[server]\nhost = 127.0.0.1\nport = 8077\nmax-json-bytes = 32M\nidle-timeout = 30s\npreload = yes\n",
        "engine = \"preview\"\n# comment\nlog-level=debug\ncors-origin = *\n",
        "short\n",
    };
    for (size_t i = 0; i < sizeof inputs / sizeof inputs[0]; i++) {
        add(inputs[i], strlen(inputs[i]));
    }
}
