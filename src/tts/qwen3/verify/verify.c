#include "tts/qwen3/verify/verify.h"

#include "base/error.h"
#include "base/memory.h"
#include "tts/qwen3/config.h"
#include "tts/qwen3/cpu/codec/decoder.h"
#include "tts/qwen3/cpu/codec/encoder.h"
#include "tts/qwen3/cpu/lm/lm.h"
#include "tts/qwen3/cpu/speaker/speaker.h"
#include "tts/qwen3/text/template.h"
#include "tts/qwen3/text/tokenizer.h"
#include "weights/safetensors.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define BLOCK_BYTES ((size_t)1 << 20)
#define NAMED_TENSORS_MAX 20

void tmb_verify_add(tmb_verify_report *report, const char *name, tmb_verify_verdict verdict, const char *format, ...) {
    char detail[1024];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(detail, sizeof detail, format, arguments);
    va_end(arguments);
    const tmb_verify_check check = {.name = name, .verdict = verdict, .detail = detail};
    report->faults += verdict == TMB_VERIFY_FAULT ? 1 : 0;
    report->cancelled = !report->each(report->user, &check) || report->cancelled;
}

bool tmb_verify_advance(tmb_verify_report *report, uint64_t bytes) {
    report->done += bytes;
    if (report->progress != NULL && !report->progress(report->user, report->done, report->total)) {
        report->cancelled = true;
    }
    return !report->cancelled;
}

/* One checkpoint under examination; what could not be opened is NULL. */
typedef struct examination {
    const char *folder;
    const tmb_released *released;
    tmb_verify_report *report;
    tmb_qwen3_config config;
    bool has_config;
    tmb_safetensors *weights, *codec_weights;
} examination;

/* The first fault of a step. Its message names file or tensor. */
static void add_status(const examination *e, const char *name, tmb_status status, const tmb_error *error,
                       const char *good) {
    tmb_verify_add(e->report, name, status == TMB_OK ? TMB_VERIFY_OK : TMB_VERIFY_FAULT, "%s",
                   status == TMB_OK ? good : error->message);
}

static void check_config(examination *e) {
    tmb_error error = {0};
    tmb_status status = tmb_qwen3_config_read(e->folder, &e->config, &error);
    e->has_config = status == TMB_OK;
    add_status(e, "configuration", status, &error, "complete, and its parts fit each other");
    if (e->released != NULL) {
        tmb_verify_values(e->folder, e->released, e->report);
    }
}

static tmb_safetensors *open_weights(const examination *e, const char *name, size_t released_tensors) {
    tmb_safetensors *weights = NULL;
    tmb_error error = {0};
    char label[64];
    char *path = tmb_asprintf("%s%s", e->folder, name);
    (void)snprintf(label, sizeof label, "%smodel.safetensors", name[0] == '/' ? name + 1 : "");
    if (name[0] == '/') {
        (void)snprintf(label, sizeof label, "%s/model.safetensors", name + 1);
    }
    if (path == NULL) {
        return NULL;
    }
    tmb_status status = tmb_safetensors_open(path, &weights, &error);
    free(path);
    if (status != TMB_OK) {
        tmb_verify_add(e->report, label, TMB_VERIFY_FAULT, "%s", error.message);
        return NULL;
    }
    size_t count = tmb_safetensors_count(weights);
    if (e->released != NULL && count != released_tensors) {
        tmb_verify_add(e->report, label, TMB_VERIFY_FAULT, "has %zu tensors, the released file has %zu", count,
                       released_tensors);
    } else {
        tmb_verify_add(e->report, label, TMB_VERIFY_OK, "%zu tensors, %.1f MB, each within the file", count,
                       (double)tmb_safetensors_bytes(weights) / 1e6);
    }
    return weights;
}

static tmb_status check_decoder(const examination *e, tmb_error *error) {
    tmb_codec_decoder *decoder = NULL;
    tmb_status status = tmb_codec_decoder_create(&e->config.codec, TMB_CODEC_F32, &decoder, error);
    for (size_t i = 0; status == TMB_OK && i < tmb_codec_decoder_parts(decoder); i++) {
        status = tmb_codec_decoder_load_part(decoder, e->codec_weights, i, error);
    }
    tmb_codec_decoder_destroy(&decoder);
    return status;
}

/* Names, shapes and types against what the configuration asks for. */
static void check_shapes(const examination *e) {
    static const char good[] = "every tensor is there, with the shape that the configuration asks for";
    if (!e->has_config) {
        return;
    }
    if (e->weights != NULL) {
        tmb_error error = {0};
        tmb_lm_options options = {.talker = TMB_LM_BF16, .predictor = TMB_LM_BF16};
        size_t bytes = 0;
        add_status(e, "language model", tmb_lm_estimate(&e->config, e->weights, &options, &bytes, &error), &error,
                   good);
        if (tmb_qwen3_clones(&e->config)) {
            tmb_speaker_encoder *speaker = NULL;
            add_status(e, "speaker encoder", tmb_speaker_encoder_load(&e->config.speaker, e->weights, &speaker, &error),
                       &error, good);
            tmb_speaker_encoder_destroy(&speaker);
        }
    }
    if (e->codec_weights != NULL) {
        tmb_error error = {0};
        add_status(e, "codec decoder", check_decoder(e, &error), &error, good);
        if (tmb_qwen3_clones(&e->config)) {
            tmb_codec_encoder *encoder = NULL;
            add_status(e, "codec encoder",
                       tmb_codec_encoder_check(&e->config.codec, e->codec_weights, &encoder, &error), &error, good);
            tmb_codec_encoder_destroy(&encoder);
        }
    }
}

/* Whether all elements of a tensor are numbers; its block buffer is the caller's. */
static tmb_status scan(const tmb_tensor *tensor, void *block, tmb_verify_report *report, tmb_error *error) {
    size_t size = tmb_dtype_size(tensor->dtype);
    size_t step = BLOCK_BYTES / size;
    for (size_t at = 0; at < tensor->count; at += step) {
        size_t count = tensor->count - at < step ? tensor->count - at : step;
        tmb_status status = tmb_tensor_read(tensor, at * size, count * size, block, error);
        if (status == TMB_OK) {
            status = tmb_tensor_check_finite(tensor, block, at, count, error);
        }
        if (status != TMB_OK || !tmb_verify_advance(report, count * size)) {
            return status;
        }
    }
    return TMB_OK;
}

static void check_numbers(const examination *e, const tmb_safetensors *weights, const char *name) {
    void *block = weights != NULL ? tmb_calloc(BLOCK_BYTES, 1) : NULL;
    size_t bad = 0;
    if (block == NULL) {
        return;
    }
    for (size_t i = 0; i < tmb_safetensors_count(weights) && !e->report->cancelled; i++) {
        const tmb_tensor *tensor = tmb_safetensors_at(weights, i);
        tmb_error error = {0};
        bool is_float =
            tensor->dtype == TMB_DTYPE_F32 || tensor->dtype == TMB_DTYPE_F16 || tensor->dtype == TMB_DTYPE_BF16;
        if (is_float && scan(tensor, block, e->report, &error) != TMB_OK && ++bad <= NAMED_TENSORS_MAX) {
            tmb_verify_add(e->report, name, TMB_VERIFY_FAULT, "%s", error.message);
        }
    }
    if (bad == 0 && !e->report->cancelled) {
        tmb_verify_add(e->report, name, TMB_VERIFY_OK, "no tensor has NaN or infinity");
    } else if (bad > NAMED_TENSORS_MAX) {
        tmb_verify_add(e->report, name, TMB_VERIFY_FAULT, "%zu more tensors have NaN or infinity",
                       bad - NAMED_TENSORS_MAX);
    }
    free(block);
}

/* Texts and the ids that the released tokenizer makes of them. */
static const struct {
    const char *text;
    int32_t ids[24];
    size_t count;
} known_texts[] = {
    {"Good morning, how are you?", {15216, 6556, 11, 1246, 525, 498, 30}, 7},
    {"<|im_start|>assistant\n", {151644, 77091, 198}, 3},
    {"iPhone 15's price: 1,234.50 EUR",
     {44740, 220, 16, 20, 594, 3349, 25, 220, 16, 11, 17, 18, 19, 13, 20, 15, 37088},
     17},
    {"你好，世界！今天天气怎么样？", {108386, 3837, 99489, 6313, 100644, 104307, 104472, 11319}, 8},
    {"こんにちは、元気ですか。", {89015, 5373, 23305, 94121, 131938, 1773}, 6},
    {"안녕하세요", {126246, 144370, 91145}, 3},
    {"Größe, naïve café — €5", {6464, 78940, 11, 94880, 586, 51950, 1959, 12984, 20}, 9},
    {"Привет, как дела?", {53645, 26991, 8178, 11, 51670, 129691, 30}, 7},
    {"  two  spaces\n\ttab", {220, 1378, 220, 12621, 198, 58149}, 6},
    {"🙂👍🏽 emoji", {145080, 144349, 145375, 42365}, 4},
};

static void check_texts(const examination *e, const tmb_tokenizer *tokenizer) {
    size_t count = sizeof known_texts / sizeof known_texts[0];
    size_t wrong = 0;
    for (size_t i = 0; i < count; i++) {
        int32_t *ids = NULL;
        size_t made = 0;
        tmb_error error = {0};
        tmb_status status =
            tmb_tokenizer_encode(tokenizer, known_texts[i].text, strlen(known_texts[i].text), &ids, &made, &error);
        bool equal = status == TMB_OK && made == known_texts[i].count &&
                     memcmp(ids, known_texts[i].ids, made * sizeof *ids) == 0;
        size_t differs = 0;
        while (!equal && status == TMB_OK && differs < made && differs < known_texts[i].count &&
               ids[differs] == known_texts[i].ids[differs]) {
            differs++;
        }
        free(ids);
        if (!equal) {
            wrong++;
            tmb_verify_add(
                e->report, "tokenizer", TMB_VERIFY_FAULT,
                "\"%s\" becomes %zu tokens instead of %zu, the first other one at %zu: vocab.json, merges.txt "
                "or tokenizer_config.json is another model's or damaged",
                known_texts[i].text, made, known_texts[i].count, differs);
        }
    }
    if (wrong == 0) {
        tmb_verify_add(e->report, "tokenizer", TMB_VERIFY_OK,
                       "%zu texts in eight scripts have the ids they should have", count);
    }
}

static void check_tokenizer(const examination *e) {
    tmb_tokenizer *tokenizer = NULL;
    tmb_error error = {0};
    tmb_status status = tmb_tokenizer_load(e->folder, TMB_TEXT_PATTERN_QWEN2, &tokenizer, &error);
    if (status == TMB_OK && e->has_config) {
        status = tmb_template_check(tokenizer, &e->config, &error);
    }
    if (status != TMB_OK) {
        add_status(e, "tokenizer", status, &error, "");
    } else {
        check_texts(e, tokenizer);
    }
    tmb_tokenizer_destroy(&tokenizer);
}

static uint64_t bytes_of_weights(const examination *e) {
    return (e->weights != NULL ? tmb_safetensors_bytes(e->weights) : 0) +
           (e->codec_weights != NULL ? tmb_safetensors_bytes(e->codec_weights) : 0);
}

tmb_status tmb_qwen3_verify(const char *folder, const char *name, tmb_verify_report *report, tmb_error *error) {
    examination *e = tmb_calloc(1, sizeof *e);
    if (e == NULL) {
        return tmb_fail_memory(error, "verifying", sizeof *e);
    }
    e->folder = folder;
    e->report = report;
    e->released = tmb_verify_identify(folder, name);
    e->weights = NULL;
    for (size_t i = 0; e->released != NULL && i < e->released->file_count; i++) {
        report->total += 2 * e->released->files[i].bytes;
    }
    if (e->released != NULL) {
        tmb_verify_add(report, "release", TMB_VERIFY_OK, "compared with %s, revision %.12s", e->released->repository,
                       e->released->revision);
    } else {
        tmb_verify_add(report, "release", TMB_VERIFY_NOTE,
                       "none of the released checkpoints: sizes and checksums are not compared");
    }
    tmb_verify_files(folder, e->released, report);
    if (!report->cancelled) {
        check_config(e);
        e->weights = open_weights(e, "", e->released != NULL ? e->released->tensors : 0);
        e->codec_weights = open_weights(e, "/speech_tokenizer", e->released != NULL ? e->released->codec_tensors : 0);
        if (e->released == NULL) {
            report->total = bytes_of_weights(e);
        }
        check_tokenizer(e);
        check_shapes(e);
        check_numbers(e, e->weights, "model.safetensors");
        check_numbers(e, e->codec_weights, "speech_tokenizer/model.safetensors");
    }
    tmb_safetensors_close(&e->weights);
    tmb_safetensors_close(&e->codec_weights);
    free(e);
    return report->cancelled ? tmb_fail(error, TMB_ERROR_CANCELLED, "cancelled") : TMB_OK;
}
