/* Any bytes as a line of a batch file. */
#include "fuzz.h"

#include "../../cli/speech.h"

static bool is_or_ends_with(const char *path, const char *end) {
    size_t length = strlen(path), tail = strlen(end);
    return length >= tail && strcmp(path + length - tail, end) == 0;
}

static void parse(const uint8_t *data, size_t size, const tmb_clone_request *defaults) {
    cli_item item;
    tmb_error error = {0};
    if (cli_item_parse(&item, (const char *)data, size, defaults, "folder", &error) == TMB_OK) {
        const tmb_clone_request *request = &item.request;
        fuzz_check(request->text != NULL && (request->ref_audio != NULL) + (request->voice != NULL) == 1);
        fuzz_check(request->temperature == defaults->temperature ||
                   (request->temperature >= 0 && request->temperature <= 10));
        fuzz_check(request->top_p == defaults->top_p || (request->top_p >= 0 && request->top_p <= 1));
        fuzz_check(request->top_k == defaults->top_k || request->top_k >= 0);
        const char *audio = json_string_value(json_object_get(item.object, "ref_audio"));
        fuzz_check(audio == NULL || is_or_ends_with(request->ref_audio, audio));
    } else {
        fuzz_check(error.status != TMB_OK && error.message[0] != '\0');
    }
    cli_item_free(&item);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    tmb_clone_request defaults;
    tmb_clone_request_default(&defaults);
    parse(data, size, &defaults);
    defaults.ref_audio = "default.wav";
    defaults.ref_text = "What it says.";
    parse(data, size, &defaults);
    return 0;
}

void fuzz_seeds(fuzz_add_seed add) {
    static const char first[] = "{\"text\": \"Hello.\", \"ref_audio\": \"a.wav\", \"ref_text\": \"Words.\", "
                                "\"language\": \"English\", \"custom_id\": \"1\","
                                " \"temperature\": 0.7, \"top_k\": 20, \"top_p\": 0.9, \"repetition_penalty\": 1.1, "
                                "\"seed\": 7, \"max_seconds\": 20,"
                                " \"response_format\": \"flac\"}";
    static const char second[] = "{\"text\": \"\\u00e4\\ud83d\\ude42\", \"voice\": \"/v.tmbvoice\", \"x_vector_only\": "
                                 "true, \"run_pre_processing\": false,"
                                 " \"run_post_processing\": false, \"seed\": \"18446744073709551615\"}";
    const char *const lines[] = {
        first,
        second,
        "{\"text\": \"x\", \"language\": null}",
        "{\"txet\": \"x\"}",
    };
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        add(lines[i], strlen(lines[i]));
    }
}
