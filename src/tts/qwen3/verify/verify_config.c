#include "tts/qwen3/verify/verify.h"

#include "base/memory.h"
#include "weights/json.h"

#include <stdlib.h>
#include <string.h>

#define FILE_BYTES_MAX ((size_t)1 << 20)

/* Numbers are equal by value: 1000000 is 1000000.0. */
static bool equal(const json_t *a, const json_t *b) {
    if (json_is_number(a) && json_is_number(b)) {
        return json_number_value(a) == json_number_value(b);
    }
    if (json_is_array(a) && json_is_array(b)) {
        bool same = json_array_size(a) == json_array_size(b);
        for (size_t i = 0; same && i < json_array_size(a); i++) {
            same = equal(json_array_get(a, i), json_array_get(b, i));
        }
        return same;
    }
    return json_equal(a, b) != 0;
}

/* What "a/b/c" leads to, or NULL. */
static const json_t *follow(const json_t *root, const char *path) {
    char name[64];
    while (root != NULL && *path != '\0') {
        size_t length = strcspn(path, "/");
        if (length >= sizeof name) {
            return NULL;
        }
        memcpy(name, path, length);
        name[length] = '\0';
        root = json_object_get(root, name);
        path += length + (path[length] == '/' ? 1 : 0);
    }
    return root;
}

static size_t check_values(const char *file, const json_t *root, const tmb_released_value *values, size_t count,
                           tmb_verify_report *report) {
    size_t checked = 0;
    for (size_t i = 0; i < count; i++) {
        if (strcmp(values[i].file, file) != 0) {
            continue;
        }
        json_t *expected = json_loads(values[i].value, JSON_DECODE_ANY, NULL);
        const json_t *found = follow(root, values[i].path);
        checked++;
        if (found == NULL) {
            tmb_verify_add(report, file, TMB_VERIFY_FAULT, "%s is missing, the released file says %s", values[i].path,
                           values[i].value);
        } else if (!equal(found, expected)) {
            char *text = json_dumps(found, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(15));
            tmb_verify_add(report, file, TMB_VERIFY_FAULT, "%s is %.200s, the released file says %s", values[i].path,
                           text != NULL ? text : "something else", values[i].value);
            free(text);
        }
        json_decref(expected);
    }
    return checked;
}

void tmb_verify_values(const char *folder, const tmb_released *released, tmb_verify_report *report) {
    static const char *const files[] = {"config.json", "generation_config.json", "speech_tokenizer/config.json"};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        char *path = tmb_asprintf("%s/%s", folder, files[i]);
        json_t *root = NULL;
        if (path != NULL && tmb_json_read(path, FILE_BYTES_MAX, &root, NULL) == TMB_OK) {
            size_t before = report->faults;
            size_t checked = check_values(files[i], root, released->values, released->value_count, report) +
                             check_values(files[i], root, tmb_released_common, tmb_released_common_count, report);
            if (report->faults == before) {
                tmb_verify_add(report, files[i], TMB_VERIFY_OK, "%zu values as released", checked);
            }
        }
        json_decref(root);
        free(path);
    }
}
