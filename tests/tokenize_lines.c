/* Tokenizes standard input: a JSON string a line in, a JSON list of ids a line out.
 *
 *     tokenize_lines FOLDER [mistral] < lines > ids
 */
#include "tts/qwen3/text/tokenizer.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int tokenize_line(const tmb_tokenizer *tokenizer, const char *line) {
    json_error_t problem;
    json_t *text = json_loads(line, JSON_DECODE_ANY | JSON_ALLOW_NUL, &problem);
    tmb_error error = {0};
    int32_t *ids = NULL;
    size_t count = 0;
    if (!json_is_string(text)) {
        (void)fprintf(stderr, "not a JSON string: %s\n", problem.text);
        json_decref(text);
        return 1;
    }
    tmb_status status =
        tmb_tokenizer_encode(tokenizer, json_string_value(text), json_string_length(text), &ids, &count, &error);
    json_decref(text);
    if (status != TMB_OK) {
        (void)fprintf(stderr, "%s\n", error.message);
        return 1;
    }
    (void)putchar('[');
    for (size_t i = 0; i < count; i++) {
        (void)printf(i == 0 ? "%d" : ",%d", ids[i]);
    }
    (void)puts("]");
    free(ids);
    return 0;
}

int main(int argument_count, char **arguments) {
    if (argument_count < 2) {
        (void)fprintf(stderr, "usage: tokenize_lines FOLDER [mistral]\n");
        return 2;
    }
    bool mistral = argument_count > 2 && strcmp(arguments[2], "mistral") == 0;
    tmb_error error = {0};
    tmb_tokenizer *tokenizer = NULL;
    if (tmb_tokenizer_load(arguments[1], mistral ? TMB_TEXT_PATTERN_MISTRAL : TMB_TEXT_PATTERN_QWEN2, &tokenizer,
                           &error) != TMB_OK) {
        (void)fprintf(stderr, "%s\n", error.message);
        return 1;
    }
    char *line = NULL;
    size_t capacity = 0;
    int result = 0;
    while (result == 0 && getline(&line, &capacity, stdin) > 0) {
        result = tokenize_line(tokenizer, line);
    }
    free(line);
    tmb_tokenizer_destroy(&tokenizer);
    return result;
}
