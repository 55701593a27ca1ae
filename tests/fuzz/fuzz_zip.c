/* Any bytes as a zip archive, of which one member is wanted. */
#include "fuzz.h"

#include "weights/zip.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const names[] = {"a.txt", "folder/b.bin", "", "none"};
    enum { LIMIT = 1 << 16 };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        void *out = NULL;
        size_t bytes = 0;
        tmb_error error = {0};
        if (tmb_zip_extract(data, size, names[i], LIMIT, &out, &bytes, &error) == TMB_OK) {
            fuzz_check(out != NULL && bytes <= LIMIT);
            free(out);
        } else {
            fuzz_check(out == NULL && error.message[0] != '\0');
        }
    }
    return 0;
}
