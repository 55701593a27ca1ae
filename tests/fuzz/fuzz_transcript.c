/* What a speech-to-text service answers. */
#include "fuzz.h"

#include "tts/transcribe/transcribe.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *text = NULL;
    tmb_error error = {0};
    tmb_status status = tmb_transcript_read((const char *)data, size, &text, &error);
    fuzz_check((status == TMB_OK) == (text != NULL));
    fuzz_check(status == TMB_OK || error.message[0] != '\0');
    if (text != NULL) {
        const size_t length = strlen(text);
        fuzz_check(length > 0 && length < sizeof((tmb_reference_info *)0)->transcript);
        fuzz_check(text[0] != ' ' && text[length - 1] != ' ' && strstr(text, "  ") == NULL);
        fuzz_check(strpbrk(text, "\r\n\t") == NULL);
    }
    free(text);
    return 0;
}

void fuzz_seeds(fuzz_add_seed add) {
    static const char *const inputs[] = {
        "{\"text\": \" What I say.\\n It goes on. \"}",
        "{\"task\":\"transcribe\",\"text\":\"Gr\\u00fc\\u00dfe\\u2028\\u4f60\\u597d\",\"segments\":[{\"text\":\"x\"}]}",
        "{\"text\": \"[BLANK_AUDIO] (a (b) c) d\"}",
        "{\"error\": {\"message\": \"no\"}}",
    };
    for (size_t i = 0; i < sizeof inputs / sizeof inputs[0]; i++) {
        add(inputs[i], strlen(inputs[i]));
    }
}
