#include "gpu_net.h"

#include "test.h"

#include "golden.h"

#include <stdlib.h>

void gpu_net_open(gpu_net *f, const char *model, const char *precision, size_t sequences) {
    gpu_net_open_within(f, model, precision, sequences, 0);
}

void gpu_net_open_within(gpu_net *f, const char *model, const char *precision, size_t sequences, uint64_t pool) {
    tmb_error error = {0};
    *f = (gpu_net){0};
    assert_ok(tmb_qwen3_config_read(golden_path("qwen/%s/model", model), &f->config, &error), error);
    assert_ok(tmb_safetensors_open(golden_path("qwen/%s/model", model), &f->weights, &error), error);
    assert_ok(tmb_safetensors_open(golden_path("qwen/%s/model/speech_tokenizer", model), &f->codec_weights, &error),
              error);
    assert_ok(tmb_qwen3_parse_precision(precision, &f->precisions, &error), error);
    const tmb_net_files files = {&f->config, f->weights, f->codec_weights};
    const tmb_net_options options = {
        .precisions = f->precisions, .threads = 1, .sequences = sequences, .device_memory = pool};
    assert_ok(gpu_backend->load(&files, &options, &f->net, &error), error);
    f->vector = calloc(f->config.talker.transformer.hidden_size, sizeof *f->vector);
    for (size_t i = 0; i < f->config.talker.transformer.hidden_size; i++) {
        f->vector[i] = (float)(i * 37 % 64) / 64 - 0.5f;
    }
}

void gpu_net_close(gpu_net *f) {
    gpu_backend->destroy(&f->net);
    tmb_safetensors_close(&f->weights);
    tmb_safetensors_close(&f->codec_weights);
    free(f->vector);
}

void gpu_net_prompt(const gpu_net *f, size_t n, tmb_prompt *prompt) {
    enum { LONGEST = 12 };
    tmb_error error = {0};
    int32_t text[LONGEST];
    const int32_t role[] = {f->config.im_start_id, f->config.assistant_id, 10};
    for (size_t i = 0; i < LONGEST; i++) {
        text[i] = (int32_t)(65 + (7 * i + 3 * n) % 50);
    }
    const tmb_prompt_parts parts = {.role = role,
                                    .text = text,
                                    .text_count = 5 + n % (LONGEST - 5),
                                    .vector = f->vector,
                                    .language = -1,
                                    .non_streaming = n % 2 == 1};
    assert_ok(tmb_prompt_build(&f->config, &parts, prompt, &error), error);
}

tmb_net_sequence *gpu_net_start(const gpu_net *f, const tmb_prompt *prompt, const tmb_lm_sampling *sampling,
                                size_t frames) {
    tmb_error error = {0};
    tmb_net_sequence *sequence = NULL;
    assert_ok(gpu_backend->sequence_create(f->net, prompt->count + frames, &sequence, &error), error);
    assert_ok(gpu_backend->prefill(f->net, sequence, prompt, 0, prompt->count, &error), error);
    assert_ok(gpu_backend->begin(f->net, sequence, sampling, prompt, &error), error);
    return sequence;
}
