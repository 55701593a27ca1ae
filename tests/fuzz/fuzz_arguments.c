/* Any bytes as what a request brings beside its body's bytes: header parameters, escapes, JSON for every route, texts
 * of fields, messages. */
#include "fuzz_parts.h"

#include "base/utf8.h"
#include "server/arguments.h"
#include "server/config.h"
#include "server/header_value.h"
#include "server/json_scan.h"
#include "server/json_text.h"
#include "server/range.h"
#include "server/state.h"

static const tmb_server_config *settings(void) {
    static tmb_server_config config;
    static bool loaded;
    if (!loaded) {
        static tmb_config_sources sources;
        tmb_config_action action;
        tmb_error error;
        fuzz_check(tmb_server_config_load(&config, &sources, false, 0, NULL, stderr, &action, &error) == TMB_OK);
        loaded = true;
    }
    return &config;
}

static char *text_of(const uint8_t *data, size_t size) {
    char *text = malloc(size + 1);
    fuzz_check(text != NULL);
    memcpy(text, data, size);
    text[size] = 0;
    return text;
}

static size_t count_values(const json_t *value) {
    size_t count = 1;
    size_t index = 0;
    const char *name = NULL;
    json_t *member = NULL;
    json_array_foreach((json_t *)(uintptr_t)value, index, member) { count += count_values(member); }
    json_object_foreach((json_t *)(uintptr_t)value, name, member) { count += count_values(member); }
    return count;
}

static bool is_clean(const char *text, size_t size) { return tmb_utf8_valid_prefix(text, size) == size; }

static void check_json(const char *text, size_t size) {
    json_t *value = json_loadb(text, size, JSON_REJECT_DUPLICATES, NULL);
    size_t count = 0;
    while (tmb_json_scan(text, size, &(tmb_json_limits){.values = count, .depth = 4096}) == TMB_JSON_TOO_MANY) {
        count = 2 * count + 1;
    }
    fuzz_check(!value || count >= count_values(value));
    for (const tmb_route *route = tmb_routes; json_is_object(value) && route->handle != NULL; route++) {
        tmb_problem problem = {.field = "", .message = ""};
        bool good = tmb_fields_check(route->fields, settings(), value, true, &problem);
        fuzz_check(good || problem.message[0]);
    }
    json_decref(value);
}

static void check_fields(const char *text, size_t size) {
    for (const tmb_route *route = tmb_routes; route->handle != NULL; route++) {
        for (const tmb_field *field = route->query; field != NULL && field->name != NULL; field++) {
            tmb_problem problem = {.field = "", .message = ""};
            json_t *value = tmb_field_parse(field, text, size, &problem);
            fuzz_check(value || problem.message[0]);
            json_decref(value);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *text = text_of(data, size);
    char out[64];
    static const char *const names[] = {"boundary", "name", "filename", "filename*"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        tmb_parameter found = tmb_header_parameter(text, names[i], out, sizeof out);
        fuzz_check(found == TMB_PARAMETER_FOUND || !out[0]);
        if (found == TMB_PARAMETER_FOUND && tmb_header_decode_extended(out)) {
            fuzz_check(is_clean(out, strlen(out)));
        }
    }
    (void)tmb_header_value_is(text, "form-data");
    char clean[32];
    size_t length = tmb_utf8_clean(text, size, clean, 1 + size % sizeof clean);
    fuzz_check(length <= size % sizeof clean && strlen(clean) == length && is_clean(clean, length));
    json_t *string = tmb_json_text(text);
    fuzz_check(string && is_clean(json_string_value(string), json_string_length(string)));
    json_decref(string);
    uint64_t first = 0;
    uint64_t last = 0;
    if (tmb_range_parse(text, size, &first, &last) == 1) {
        fuzz_check(first <= last && last < size);
    }
    check_json(text, size);
    check_fields(text, size);
    (void)tmb_percent_decode(text, size & 1);
    fuzz_check(strlen(text) <= size);
    free(text);
    return 0;
}

void fuzz_seeds(fuzz_add_seed add) {
    static const char *const inputs[] = {
        "form-data; name=\"a\\\"b\"; filename=x y; filename*=UTF-8''%e2%82%ac",
        "multipart/form-data; Boundary = \"a;b\" ; charset=utf-8",
        "a%20b+c%zz%00",
        "{\"text\":[\"a\",{\"b\":[1,2.5e300,null,true]}],\"voice\":{\"id\":\"x\"},\"seed\":-1}",
        "{\"items\":[{\"text\":\"a\",\"ref_audio\":\"b\",\"top_k\":1e300}],\"label\":\"\\ud83d\\ude00\"}",
        "{\"input\":\"a\",\"voice\":\"b\",\"speed\":4,\"response_format\":\"mp3\",\"stream_format\":\"sse\"}",
        "{\"a\xc3\":1}",
        "true",
        "1e999",
        "bytes=0-5",
        "bytes=-3",
        "bytes=2-",
        "\xef\xbb\xbf{}",
    };
    for (size_t i = 0; i < sizeof inputs / sizeof inputs[0]; i++) {
        add(inputs[i], strlen(inputs[i]));
    }
}
