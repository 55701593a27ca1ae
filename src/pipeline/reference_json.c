/* What was measured of a reference, as the JSON that the command and the server show. */
#include "pipeline/reference.h"

#include "base/memory.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>

/* With two decimals; null for what could not be measured. */
static json_t *number(double value) { return isfinite(value) ? json_real(round(value * 100) / 100) : json_null(); }

char *tmb_reference_to_json(const tmb_reference_info *info) {
    json_t *object = json_object();
    json_t *warnings = json_array();
    for (size_t i = 0; i < info->warning_count; i++) {
        (void)json_array_append_new(warnings, json_string(info->warnings[i]));
    }
    (void)json_object_set_new(object, "verdict",
                              json_string(!info->usable             ? "unusable"
                                          : info->warning_count > 0 ? "doubtful"
                                                                    : "good"));
    (void)json_object_set_new(object, "duration", number(info->duration));
    (void)json_object_set_new(object, "speech", number(info->speech));
    (void)json_object_set_new(object, "level", number(info->level));
    (void)json_object_set_new(object, "peak", number(info->peak));
    (void)json_object_set_new(object, "clipped", json_integer((json_int_t)info->clipped));
    (void)json_object_set_new(object, "noise", number(info->noise));
    (void)json_object_set_new(object, "noise_clean", number(info->noise_clean));
    (void)json_object_set_new(object, "snr", number(info->level - info->noise));
    (void)json_object_set_new(object, "snr_clean", number(info->level_clean - info->noise_clean));
    (void)json_object_set_new(object, "transcript",
                              info->transcript[0] != '\0' ? json_string(info->transcript) : json_null());
    (void)json_object_set_new(object, "warnings", warnings);
    char *text = json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(6));
    json_decref(object);
    return text;
}
