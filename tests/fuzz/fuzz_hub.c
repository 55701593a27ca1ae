/* What a hub answers: the head of an answer, and the description of a repository. The first byte says which. */
#include "fuzz.h"

#include "weights/answer.h"
#include "weights/hf_cache.h"
#include "weights/hub_list.h"

static void check_head(const uint8_t *data, size_t size) {
    tmb_answer answer;
    tmb_answer_begin(&answer);
    while (size > 0) {
        const uint8_t *end = memchr(data, '\n', size);
        size_t length = end != NULL ? (size_t)(end - data) + 1 : size;
        char *line = malloc(length); /* exactly as long, so that a sanitizer sees a read past it */
        fuzz_check(line != NULL);
        memcpy(line, data, length);
        tmb_answer_line(&answer, line, length);
        free(line);
        data += length;
        size -= length;
    }
    fuzz_check(strlen(answer.etag) < sizeof answer.etag);
    double wait = tmb_answer_wait(&answer, 1700000000);
    fuzz_check(wait == wait && (wait >= 0 || wait == -1));
}

static void check_list(const uint8_t *data, size_t size) {
    tmb_hub_list list;
    tmb_error error = {0};
    tmb_status status = tmb_hub_list_parse("hub", (const char *)data, size, &list, &error);
    fuzz_check(status == TMB_OK || error.message[0] != '\0');
    for (size_t i = 0; i < list.count; i++) {
        fuzz_check(tmb_hf_is_path(list.files[i].path));
        fuzz_check(list.files[i].tag[0] == '\0' || tmb_hf_is_tag(list.files[i].tag));
        fuzz_check(list.files[i].bytes <= TMB_HUB_FILE_BYTES_MAX);
    }
    tmb_hub_list_free(&list);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size > 0 && data[0] == 'H') {
        check_head(data, size);
    } else {
        check_list(data, size);
    }
    return 0;
}

void fuzz_seeds(fuzz_add_seed add) {
#define TAG "180b3b10eb1c9f1b4db7806d5475bae3071c0243c299d49926bab1da3b6946f6"
    static const char *const inputs[] = {
        "HTTP/1.1 302 Found\r\nX-Linked-Size: 300000\r\nX-Linked-ETag: \"" TAG "\"\r\nContent-Length: 1099\r\n",
        "HTTP/2 307 \r\nETag: \"of the redirect\"\r\n\r\nHTTP/2 200 \r\netag: W/\"abc\"\r\ncontent-length: 27\r\n",
        "HTTP/1.1 429 Too Many\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nRetry-After: Sun, 06 Nov 1994 08:50:07 "
        "GMT\r\n",
        "HTTP/1.1 429 Too Many\r\nRetry-After: 18446744073709551616\r\nRateLimit: \"api\";r=0;t=211\r\n",
        "HTTP/1.1 206 Partial\r\nContent-Range: bytes 100-199/200\r\nRateLimit-Reset: 5\r\n",
        "{\"sha\":\"0123456789abcdef0123456789abcdef01234567\",\"siblings\":[{\"rfilename\":\"config.json\",\"size\":"
        "4494,"
        "\"blobId\":\"0123456789abcdef0123456789abcdef01234567\"},{\"rfilename\":\"a/model.safetensors\",\"lfs\":"
        "{\"sha256\":\"" TAG "\",\"size\":300000}}]}",
        "{\"sha\":\"0123456789abcdef0123456789abcdef01234567\",\"siblings\":[{\"rfilename\":\"../"
        "evil.json\",\"size\":-1}]}",
    };
    for (size_t i = 0; i < sizeof inputs / sizeof inputs[0]; i++) {
        add(inputs[i], strlen(inputs[i]));
    }
}
