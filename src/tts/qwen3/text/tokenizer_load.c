/* From a checkpoint's files to a tokenizer. */
#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "tts/qwen3/text/tokenizer_internal.h"
#include "weights/json_pull.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FILE_BYTES_MAX ((size_t)256 << 20)

static bool key_is(const char *key, size_t length, const char *name) {
    return length == strlen(name) && memcmp(key, name, length) == 0;
}

/* One file's reader together with the error of what is done with its contents. */
typedef struct loader {
    tmb_tokenizer *tokenizer;
    tmb_json_pull json;
    tmb_status status; /* of the tables; the reader has its own */
    tmb_error *error;
} loader;

/* Ends reading: the first thing that went wrong. */
static tmb_status finish_reading(loader *l) {
    tmb_error unused;
    tmb_status status = tmb_json_pull_finish(&l->json, l->status == TMB_OK ? l->error : &unused);
    if (l->status != TMB_OK) {
        tmb_error_prefix(l->error, "%s", l->json.name);
        return l->status;
    }
    return status;
}

/* { "token": id, ... } into the vocabulary. */
static bool read_vocabulary(loader *l) {
    const char *key;
    size_t length;
    int64_t id;
    if (!tmb_json_pull_object(&l->json)) {
        return false;
    }
    while (tmb_json_pull_key(&l->json, &key, &length)) {
        /* The key is in the text or in the reader's buffer, which reading a number leaves alone. */
        if (!tmb_json_pull_integer(&l->json, &id)) {
            return false;
        }
        l->status = tmb_vocabulary_add(&l->tokenizer->vocabulary, key, length, id, l->error);
        if (l->status != TMB_OK) {
            return false;
        }
    }
    return l->json.status == TMB_OK;
}

static tmb_status load_vocabulary(tmb_tokenizer *tokenizer, const char *text, size_t bytes, tmb_error *error) {
    loader l = {.tokenizer = tokenizer, .error = error};
    tmb_json_pull_init(&l.json, "vocab.json", text, bytes);
    (void)read_vocabulary(&l);
    return finish_reading(&l);
}

static bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\f' || c == '\v'; }

/* One merge a line, two tokens with a blank between. Lines that begin with # are merges too; only the first line may be
 * a "#version" comment. */
static tmb_status load_merges(tmb_tokenizer *tokenizer, const char *text, size_t bytes, tmb_error *error) {
    const char *end = text + bytes;
    size_t number = 0;
    if (bytes == 0) {
        return tmb_fail(error, TMB_ERROR_FORMAT, "merges.txt is empty");
    }
    while (text < end) {
        const char *line_end = memchr(text, '\n', (size_t)(end - text));
        const char *line = text;
        line_end = line_end == NULL ? end : line_end;
        text = line_end + 1;
        number++;
        while (line < line_end && is_blank(*line)) {
            line++;
        }
        while (line_end > line && is_blank(line_end[-1])) {
            line_end--;
        }
        if (line == line_end || (number == 1 && line_end - line >= 9 && memcmp(line, "#version:", 9) == 0)) {
            continue;
        }
        const char *left_end = line;
        while (left_end < line_end && !is_blank(*left_end)) {
            left_end++;
        }
        const char *right = left_end;
        while (right < line_end && is_blank(*right)) {
            right++;
        }
        const char *right_end = right;
        while (right_end < line_end && !is_blank(*right_end)) {
            right_end++;
        }
        if (right == line_end || right_end != line_end) {
            return tmb_fail(error, TMB_ERROR_FORMAT, "merges.txt: line %zu is not two tokens", number);
        }
        tmb_status status = tmb_vocabulary_add_merge(&tokenizer->vocabulary, line, (size_t)(left_end - line), right,
                                                     (size_t)(right_end - right), error);
        if (status != TMB_OK) {
            tmb_error_prefix(error, "merges.txt: line %zu", number);
            return status;
        }
    }
    return TMB_OK;
}

/* The members of an added token that are read; if a file does not say, the official defaults. */
typedef struct token_entry {
    char content[TMB_ADDED_TOKEN_BYTES_MAX + 1];
    size_t length;
    int64_t id;
    bool special, normalized, has_normalized, trims;
} token_entry;

static bool read_content(loader *l, token_entry *entry) {
    const char *text;
    size_t length;
    if (!tmb_json_pull_string(&l->json, &text, &length)) {
        return false;
    }
    if (length >= sizeof entry->content) {
        return tmb_json_pull_fail(&l->json, "an added token is too long");
    }
    memcpy(entry->content, text, length);
    entry->length = length;
    return true;
}

static bool read_token_entry(loader *l, token_entry *entry) {
    const char *key;
    size_t length;
    bool trims = false;
    if (!tmb_json_pull_object(&l->json)) {
        return false;
    }
    while (tmb_json_pull_key(&l->json, &key, &length)) {
        bool good;
        if (key_is(key, length, "content")) {
            good = read_content(l, entry);
        } else if (key_is(key, length, "id")) {
            good = tmb_json_pull_integer(&l->json, &entry->id);
        } else if (key_is(key, length, "special")) {
            good = tmb_json_pull_boolean(&l->json, &entry->special);
        } else if (key_is(key, length, "normalized")) {
            good = tmb_json_pull_boolean(&l->json, &entry->normalized);
            entry->has_normalized = true;
        } else if (key_is(key, length, "lstrip") || key_is(key, length, "rstrip") ||
                   key_is(key, length, "single_word")) {
            good = tmb_json_pull_boolean(&l->json, &trims);
            entry->trims = entry->trims || trims;
        } else {
            good = tmb_json_pull_skip(&l->json);
        }
        if (!good) {
            return false;
        }
    }
    return l->json.status == TMB_OK;
}

static bool add_token_entry(loader *l, const token_entry *entry) {
    if (entry->trims) {
        l->status =
            tmb_fail(l->error, TMB_ERROR_UNSUPPORTED,
                     "added token \"%s\" has lstrip, rstrip or single_word, which are not supported", entry->content);
        return false;
    }
    bool normalized = entry->has_normalized ? entry->normalized : !entry->special;
    l->status =
        tmb_added_tokens_add(&l->tokenizer->added, entry->content, entry->length, entry->id, normalized, l->error);
    return l->status == TMB_OK;
}

/* "added_tokens_decoder": { "151643": { "content": ... }, ... } */
static bool read_tokens_decoder(loader *l) {
    const char *key;
    size_t length;
    if (!tmb_json_pull_object(&l->json)) {
        return false;
    }
    while (tmb_json_pull_key(&l->json, &key, &length)) {
        token_entry entry = {.id = 0};
        for (size_t i = 0; i < length; i++) {
            if (key[i] < '0' || key[i] > '9' || length > 9) {
                return tmb_json_pull_fail(&l->json, "a key of added_tokens_decoder is not a token's id");
            }
            entry.id = entry.id * 10 + (key[i] - '0');
        }
        int64_t id = length == 0 ? -1 : entry.id;
        if (!read_token_entry(l, &entry)) {
            return false;
        }
        entry.id = id;
        if (!add_token_entry(l, &entry)) {
            return false;
        }
    }
    return l->json.status == TMB_OK;
}

static tmb_status load_tokenizer_config(tmb_tokenizer *tokenizer, const char *text, size_t bytes, tmb_error *error) {
    loader l = {.tokenizer = tokenizer, .error = error};
    const char *key;
    size_t length;
    tmb_json_pull_init(&l.json, "tokenizer_config.json", text, bytes);
    (void)tmb_json_pull_object(&l.json);
    while (tmb_json_pull_key(&l.json, &key, &length)) {
        bool good = key_is(key, length, "added_tokens_decoder") ? read_tokens_decoder(&l) : tmb_json_pull_skip(&l.json);
        if (!good) {
            break;
        }
    }
    return finish_reading(&l);
}

/* { "<|im_start|>": 151644, ... } */
static tmb_status load_added_tokens(tmb_tokenizer *tokenizer, const char *text, size_t bytes, tmb_error *error) {
    loader l = {.tokenizer = tokenizer, .error = error};
    const char *key;
    size_t length;
    int64_t id;
    tmb_json_pull_init(&l.json, "added_tokens.json", text, bytes);
    (void)tmb_json_pull_object(&l.json);
    while (tmb_json_pull_key(&l.json, &key, &length) && tmb_json_pull_integer(&l.json, &id)) {
        l.status = tmb_added_tokens_add(&tokenizer->added, key, length, id, false, error);
        if (l.status != TMB_OK) {
            break;
        }
    }
    return finish_reading(&l);
}

/* ---- tokenizer.json ---- */

static bool read_added_list(loader *l) {
    if (!tmb_json_pull_array(&l->json)) {
        return false;
    }
    while (tmb_json_pull_element(&l->json)) {
        token_entry entry = {.id = -1};
        if (!read_token_entry(l, &entry) || !add_token_entry(l, &entry)) {
            return false;
        }
    }
    return l->json.status == TMB_OK;
}

/* "left right", or ["left", "right"]. */
static bool read_merge(loader *l) {
    const char *text;
    size_t length;
    char *pair = NULL;
    const char *left;
    size_t left_length;
    if (tmb_json_pull_peek(&l->json) == '[') {
        if (!tmb_json_pull_array(&l->json) || !tmb_json_pull_element(&l->json) ||
            !tmb_json_pull_string(&l->json, &text, &length)) {
            return tmb_json_pull_fail(&l->json, "a merge is not two tokens");
        }
        pair = tmb_calloc(length + 1, 1);
        if (pair == NULL) {
            l->status = tmb_fail_memory(l->error, "a vocabulary", 0);
            return false;
        }
        memcpy(pair, text, length);
        left = pair;
        left_length = length;
        if (!tmb_json_pull_element(&l->json) || !tmb_json_pull_string(&l->json, &text, &length) ||
            tmb_json_pull_element(&l->json)) {
            free(pair);
            return tmb_json_pull_fail(&l->json, "a merge is not two tokens");
        }
    } else {
        if (!tmb_json_pull_string(&l->json, &text, &length)) {
            return false;
        }
        const char *blank = memchr(text, ' ', length);
        if (blank == NULL) {
            return tmb_json_pull_fail(&l->json, "a merge is not two tokens");
        }
        left = text;
        left_length = (size_t)(blank - text);
        text = blank + 1;
        length -= left_length + 1;
    }
    l->status = tmb_vocabulary_add_merge(&l->tokenizer->vocabulary, left, left_length, text, length, l->error);
    free(pair);
    return l->status == TMB_OK;
}

/* Merges can only be read when the vocabulary is there, whichever comes first in the file. */
static tmb_status read_merge_list(tmb_tokenizer *tokenizer, const char *text, const char *begin, const char *end,
                                  tmb_error *error) {
    loader l = {.tokenizer = tokenizer, .error = error};
    tmb_json_pull_init(&l.json, "tokenizer.json", text, (size_t)(end - text));
    l.json.position = begin;
    (void)tmb_json_pull_array(&l.json);
    while (tmb_json_pull_element(&l.json) && read_merge(&l)) {
    }
    return finish_reading(&l);
}

typedef struct model_parts {
    const char *merges_begin, *merges_end; /* where the list is */
    bool has_vocabulary, has_normalizer, has_pattern;
    tmb_text_pattern pattern;
} model_parts;

static bool refuse_true(loader *l, const char *what) {
    if (tmb_json_pull_peek(&l->json) == 't') {
        l->status = tmb_fail(l->error, TMB_ERROR_UNSUPPORTED, "%s is set, which is not supported", what);
        return false;
    }
    return tmb_json_pull_skip(&l->json);
}

static bool read_model(loader *l, model_parts *parts) {
    const char *key;
    size_t length;
    if (!tmb_json_pull_object(&l->json)) {
        return false;
    }
    while (tmb_json_pull_key(&l->json, &key, &length)) {
        bool good;
        if (key_is(key, length, "vocab") && !parts->has_vocabulary) {
            good = read_vocabulary(l);
            parts->has_vocabulary = true;
        } else if (key_is(key, length, "merges")) {
            parts->merges_begin = l->json.position;
            good = tmb_json_pull_skip(&l->json);
            parts->merges_end = l->json.position;
        } else if (key_is(key, length, "byte_fallback")) {
            good = refuse_true(l, "byte_fallback");
        } else if (key_is(key, length, "ignore_merges")) {
            good = refuse_true(l, "ignore_merges");
        } else {
            good = tmb_json_pull_skip(&l->json);
        }
        if (!good) {
            return false;
        }
    }
    return l->json.status == TMB_OK;
}

static bool read_normalizer(loader *l, model_parts *parts) {
    const char *key;
    const char *type;
    size_t length;
    if (!tmb_json_pull_object(&l->json)) {
        return false;
    }
    while (tmb_json_pull_key(&l->json, &key, &length)) {
        if (!key_is(key, length, "type")) {
            if (!tmb_json_pull_skip(&l->json)) {
                return false;
            }
            continue;
        }
        if (!tmb_json_pull_string(&l->json, &type, &length)) {
            return false;
        }
        parts->has_normalizer = key_is(type, length, "NFC");
    }
    return l->json.status == TMB_OK;
}

/* Finds "Regex": "..." at any depth of the pre-tokenizer: levels are bounded by the reader. */
static bool find_pattern(loader *l, model_parts *parts) {
    const char *key;
    const char *source;
    size_t length;
    char first = tmb_json_pull_peek(&l->json);
    if (first == '[') {
        (void)tmb_json_pull_array(&l->json);
        while (tmb_json_pull_element(&l->json) && find_pattern(l, parts)) {
        }
        return l->json.status == TMB_OK;
    }
    if (first != '{') {
        return tmb_json_pull_skip(&l->json);
    }
    (void)tmb_json_pull_object(&l->json);
    while (tmb_json_pull_key(&l->json, &key, &length)) {
        if (!key_is(key, length, "Regex")) {
            if (!find_pattern(l, parts)) {
                return false;
            }
            continue;
        }
        if (!tmb_json_pull_string(&l->json, &source, &length)) {
            return false;
        }
        for (int i = TMB_TEXT_PATTERN_QWEN2; i <= TMB_TEXT_PATTERN_MISTRAL; i++) {
            if (key_is(source, length, tmb_text_pattern_source((tmb_text_pattern)i))) {
                parts->pattern = (tmb_text_pattern)i;
                parts->has_pattern = true;
            }
        }
    }
    return l->json.status == TMB_OK;
}

static tmb_status load_tokenizer_json(tmb_tokenizer *tokenizer, const char *text, size_t bytes,
                                      tmb_text_pattern *pattern, tmb_error *error) {
    loader l = {.tokenizer = tokenizer, .error = error};
    model_parts parts = {0};
    const char *key;
    size_t length;
    tmb_json_pull_init(&l.json, "tokenizer.json", text, bytes);
    (void)tmb_json_pull_object(&l.json);
    while (tmb_json_pull_key(&l.json, &key, &length)) {
        bool good;
        if (key_is(key, length, "model")) {
            good = read_model(&l, &parts);
        } else if (key_is(key, length, "added_tokens")) {
            good = read_added_list(&l);
        } else if (key_is(key, length, "normalizer") && tmb_json_pull_peek(&l.json) == '{') {
            good = read_normalizer(&l, &parts);
        } else if (key_is(key, length, "pre_tokenizer")) {
            good = find_pattern(&l, &parts);
        } else {
            good = tmb_json_pull_skip(&l.json);
        }
        if (!good) {
            break;
        }
    }
    tmb_status status = finish_reading(&l);
    if (status != TMB_OK) {
        return status;
    }
    if (!parts.has_vocabulary || parts.merges_begin == NULL) {
        return tmb_fail(error, TMB_ERROR_FORMAT, "tokenizer.json: model.%s is missing",
                        parts.has_vocabulary ? "merges" : "vocab");
    }
    if (!parts.has_normalizer || !parts.has_pattern) {
        return tmb_fail(error, TMB_ERROR_UNSUPPORTED, "tokenizer.json: not Qwen2's tokenizer: %s",
                        parts.has_normalizer ? "its pre_tokenizer has another pattern" : "its normalizer is not NFC");
    }
    if (parts.pattern != TMB_TEXT_PATTERN_QWEN2) {
        *pattern = parts.pattern;
    }
    return read_merge_list(tokenizer, text, parts.merges_begin, parts.merges_end, error);
}

static tmb_status load_tables(tmb_tokenizer *tokenizer, const tmb_tokenizer_texts *texts, tmb_text_pattern *pattern,
                              tmb_error *error) {
    tmb_status status;
    if (texts->vocab != NULL) {
        status = load_vocabulary(tokenizer, texts->vocab, texts->vocab_bytes, error);
        if (status == TMB_OK && texts->merges == NULL) {
            status = tmb_fail(error, TMB_ERROR_MODEL, "merges.txt is missing");
        }
        if (status == TMB_OK) {
            status = load_merges(tokenizer, texts->merges, texts->merges_bytes, error);
        }
    } else if (texts->tokenizer != NULL) {
        status = load_tokenizer_json(tokenizer, texts->tokenizer, texts->tokenizer_bytes, pattern, error);
    } else {
        status = tmb_fail(error, TMB_ERROR_MODEL, "neither vocab.json nor tokenizer.json is there");
    }
    if (status == TMB_OK) {
        status = tmb_vocabulary_finish(&tokenizer->vocabulary, error);
    }
    if (status == TMB_OK && texts->added_tokens != NULL) {
        status = load_added_tokens(tokenizer, texts->added_tokens, texts->added_tokens_bytes, error);
    }
    if (status == TMB_OK && texts->tokenizer_config != NULL) {
        status = load_tokenizer_config(tokenizer, texts->tokenizer_config, texts->tokenizer_config_bytes, error);
    }
    return status;
}

tmb_status tmb_tokenizer_parse(const tmb_tokenizer_texts *texts, tmb_text_pattern pattern, tmb_tokenizer **out,
                               tmb_error *error) {
    *out = NULL;
    tmb_tokenizer *tokenizer = tmb_calloc(1, sizeof *tokenizer);
    if (tokenizer == NULL) {
        return tmb_fail_memory(error, "a tokenizer", 0);
    }
    tmb_vocabulary_init(&tokenizer->vocabulary);
    tmb_status status = load_tables(tokenizer, texts, &pattern, error);
    if (status == TMB_OK) {
        tmb_added_tokens_sort(&tokenizer->added);
        status = tmb_pretokenizer_create(pattern, &tokenizer->pretokenizer, error);
    }
    if (status == TMB_ERROR_FORMAT) {
        status = TMB_ERROR_MODEL;
        if (error != NULL) {
            error->status = status;
        }
    }
    if (status != TMB_OK) {
        tmb_tokenizer_destroy(&tokenizer);
        return status;
    }
    *out = tokenizer;
    return TMB_OK;
}

/* A file that is not there is none; one that cannot be read is an error. */
static tmb_status read_optional(const char *folder, const char *name, char **text, size_t *bytes, tmb_error *error) {
    *text = NULL;
    *bytes = 0;
    char *path = tmb_asprintf("%s/%s", folder, name);
    if (path == NULL) {
        return tmb_fail_memory(error, "a path", 0);
    }
    tmb_status status = TMB_OK;
    if (access(path, F_OK) == 0 || errno != ENOENT) {
        status = tmb_file_read(path, FILE_BYTES_MAX, text, bytes, error);
    }
    free(path);
    return status;
}

tmb_status tmb_tokenizer_load(const char *folder, tmb_text_pattern pattern, tmb_tokenizer **out, tmb_error *error) {
    *out = NULL;
    static const char *const names[] = {"vocab.json", "merges.txt", "tokenizer.json", "tokenizer_config.json",
                                        "added_tokens.json"};
    enum { VOCAB, MERGES, TOKENIZER, CONFIG, ADDED, FILES };
    char *texts[FILES] = {NULL};
    size_t bytes[FILES] = {0};
    tmb_status status = TMB_OK;
    for (int i = 0; i < FILES && status == TMB_OK; i++) {
        if (i != TOKENIZER || texts[VOCAB] == NULL) {
            status = read_optional(folder, names[i], &texts[i], &bytes[i], error);
        }
    }
    if (status == TMB_OK) {
        tmb_tokenizer_texts all = {
            .vocab = texts[VOCAB],
            .merges = texts[MERGES],
            .tokenizer = texts[TOKENIZER],
            .tokenizer_config = texts[CONFIG],
            .added_tokens = texts[ADDED],
            .vocab_bytes = bytes[VOCAB],
            .merges_bytes = bytes[MERGES],
            .tokenizer_bytes = bytes[TOKENIZER],
            .tokenizer_config_bytes = bytes[CONFIG],
            .added_tokens_bytes = bytes[ADDED],
        };
        status = tmb_tokenizer_parse(&all, pattern, out, error);
        if (status != TMB_OK) {
            tmb_error_prefix(error, "%s", folder);
        }
    }
    for (int i = 0; i < FILES; i++) {
        free(texts[i]);
    }
    return status;
}
