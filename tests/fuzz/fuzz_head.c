/* Any bytes as what begins a connection. What is known of a part of it stays true of more. */
#include "fuzz.h"

#include "server/head_rules.h"

/* A copy of exactly `size` bytes is judged, so that a sanitizer sees a read past them. */
static bool look(tmb_head_rules *rules, const uint8_t *data, size_t size) {
    char *copy = malloc(size ? size : 1);
    fuzz_check(copy != NULL);
    memcpy(copy, data, size);
    *rules = (tmb_head_rules){.status = 0};
    bool known = tmb_head_look(rules, copy, size);
    fuzz_check(known || rules->status == 0);
    fuzz_check((rules->status == 0) == (rules->problem == NULL));
    free(copy);
    return known;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    tmb_head_rules whole;
    bool known = look(&whole, data, size);
    size_t step = size < 200 ? 1 : 1 + size / 50;
    for (size_t part = 0; part < size; part += step) {
        tmb_head_rules rules;
        if (look(&rules, data, part)) {
            fuzz_check(known && rules.status == whole.status && rules.length == whole.length);
        }
    }
    return 0;
}

void fuzz_seeds(fuzz_add_seed add) {
#define HOST " HTTP/1.1\r\nHost: localhost\r\n"
    static const char *const inputs[] = {
        "GET /health/live" HOST "\r\n",
        "\r\nPOST /api/v1/voices?a=b" HOST "Content-Length: 5\r\nX:\t y \r\n\r\nabcde",
        "POST /" HOST "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.0\r\nContent-Length: 9223372036854775807\r\n\r\n",
        "POST /" HOST "Content-Length: 5\r\nContent-Length: 5\r\n\r\n",
        "POST /" HOST "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "GET /" HOST "X: y\r\n Transfer-Encoding: chunked\r\n\r\n",
        "GET / HTTP/1.1\nHost: localhost\n\n",
        "GET  / HTTP/1.1\r\n\r\n",
        "GET / HTTP/2.0\r\n\r\n",
        "POST /" HOST "Content-Length : 5\r\nHost: b\r\n\r\n",
    };
    for (size_t i = 0; i < sizeof inputs / sizeof inputs[0]; i++) {
        add(inputs[i], strlen(inputs[i]));
    }
}
