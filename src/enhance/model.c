#include "enhance/model.h"

#include "base/error.h"
#include "base/memory.h"
#include "cpu/cpu.h"
#include "weights/onnx.h"
#include "weights/tar_gz.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The official export is 8.6 MB, the largest member 3.4 MB; wider variants have some times that. */
static const tmb_tar_gz_limits limits = {.total_bytes = 256u << 20, .member_bytes = 96u << 20, .members = 256};
enum { MAX_CONFIG_BYTES = 64 * 1024 };

static const double pi = 3.14159265358979323846;

enum { ENCODER, ERB_DECODER, DF_DECODER, CONFIG, MEMBERS };
static const char *const member_names[MEMBERS] = {"enc.onnx", "erb_dec.onnx", "df_dec.onnx", "config.ini"};

static tmb_status read_network(tmb_dfn_model *model, int member, const tmb_onnx_graph *graph, tmb_arena *arena,
                               tmb_error *error) {
    const char *name = member_names[member];
    switch (member) {
    case ENCODER: return tmb_dfn_encoder_read(graph, name, arena, &model->encoder, error);
    case ERB_DECODER: return tmb_dfn_erb_decoder_read(graph, name, arena, &model->erb_decoder, error);
    default: return tmb_dfn_df_decoder_read(graph, name, arena, &model->df_decoder, error);
    }
}

/* Packs the weights of one graph into an arena of their own. */
static tmb_status load_network(tmb_dfn_model *model, int member, const void *bytes, size_t size, tmb_error *error) {
    tmb_onnx_graph graph;
    tmb_status status = tmb_onnx_parse(bytes, size, &graph, error);
    if (status != TMB_OK) {
        tmb_error_prefix(error, "%s", member_names[member]);
        return status;
    }
    tmb_arena arena = {.base = NULL};
    status = read_network(model, member, &graph, &arena, error);
    if (status == TMB_OK) {
        const size_t floats = arena.used;
        arena = (tmb_arena){.base = tmb_alloc_aligned(floats, sizeof(float))};
        model->weights[member] = arena.base;
        model->bytes += floats * sizeof(float);
        status = arena.base != NULL ? read_network(model, member, &graph, &arena, error)
                                    : tmb_fail_memory(error, "the denoiser's weights", floats * sizeof(float));
    }
    tmb_onnx_free(&graph);
    return status;
}

static const char *base_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

/* Reads one member of the archive and takes what is needed out of it. */
static tmb_status load_member(tmb_dfn_model *model, tmb_tar_gz *archive, const tmb_tar_gz_member *member, int which,
                              tmb_error *error) {
    if (which == CONFIG && member->size > MAX_CONFIG_BYTES) {
        return tmb_fail(error, TMB_ERROR_LIMIT, "config.ini has %zu bytes; %d are the limit", member->size,
                        MAX_CONFIG_BYTES);
    }
    void *bytes = malloc(member->size > 0 ? member->size : 1);
    if (bytes == NULL) {
        return tmb_fail_memory(error, member_names[which], member->size);
    }
    tmb_status status = tmb_tar_gz_read(archive, bytes, member->size, error);
    if (status == TMB_OK && which == CONFIG) {
        status = tmb_dfn_config_parse(bytes, member->size, &model->config, error);
        tmb_error_prefix(error, "config.ini");
    } else if (status == TMB_OK) {
        status = load_network(model, which, bytes, member->size, error);
    }
    free(bytes);
    return status;
}

static tmb_status load_archive(tmb_dfn_model *model, tmb_tar_gz *archive, tmb_error *error) {
    bool seen[MEMBERS] = {false};
    for (;;) {
        tmb_tar_gz_member member;
        bool found = false;
        tmb_status status = tmb_tar_gz_next(archive, &member, &found, error);
        if (status != TMB_OK) {
            return status;
        }
        if (!found) {
            break;
        }
        int which = 0;
        while (which < MEMBERS && strcmp(base_name(member.path), member_names[which]) != 0) {
            which++;
        }
        if (which == MEMBERS) {
            continue;
        }
        if (seen[which]) {
            return tmb_fail(error, TMB_ERROR_FORMAT, "the archive holds %s twice", member_names[which]);
        }
        seen[which] = true;
        status = load_member(model, archive, &member, which, error);
        if (status != TMB_OK) {
            return status;
        }
    }
    for (int which = 0; which < MEMBERS; which++) {
        if (!seen[which]) {
            return tmb_fail(error, TMB_ERROR_MODEL, "no DeepFilterNet3 export: the archive holds no %s",
                            member_names[which]);
        }
    }
    return TMB_OK;
}

typedef struct size_check {
    const char *what;
    size_t network, settings;
} size_check;

/* The networks must fit each other and the settings; the sizes that follow are filled in. */
static tmb_status check_sizes(tmb_dfn_model *model, tmb_error *error) {
    const tmb_dfn_config *config = &model->config;
    const tmb_dfn_encoder *encoder = &model->encoder;
    const tmb_dfn_erb_decoder *erb = &model->erb_decoder;
    const tmb_dfn_df_decoder *df = &model->df_decoder;
    model->channels = encoder->erb_conv0.channels;
    model->erb_rows[0] = config->erb_bands;
    for (size_t i = 0; i < 3; i++) {
        model->erb_rows[i + 1] = tmb_dfn_separable_rows(&encoder->erb_conv[i], model->erb_rows[i]);
        if (model->erb_rows[i + 1] == 0) {
            return tmb_fail(error, TMB_ERROR_MODEL, "[df] nb_erb = %zu is too small for the network",
                            config->erb_bands);
        }
    }
    model->df_rows = tmb_dfn_separable_rows(&encoder->df_conv1, config->df_bins);
    model->embedding = encoder->linear_out.groups * encoder->linear_out.outputs;
    const size_t deep = model->erb_rows[3] * model->channels;
    const size_check checks[] = {
        {"[deepfilternet] conv_ch", model->channels, config->conv_channels},
        {"[deepfilternet] conv_ch (erb_dec.onnx)", erb->skip[0].channels, config->conv_channels},
        {"[deepfilternet] conv_ch (df_dec.onnx)", df->conv_groups * df->conv_inputs, config->conv_channels},
        {"[deepfilternet] emb_hidden_dim", encoder->gru.layer[0].hidden, config->emb_hidden},
        {"[deepfilternet] emb_hidden_dim (erb_dec.onnx)", erb->gru.layer[0].hidden, config->emb_hidden},
        {"[deepfilternet] emb_num_layers", encoder->gru.layers + erb->gru.layers, config->emb_layers},
        {"[deepfilternet] df_hidden_dim", df->gru.layer[0].hidden, config->df_hidden},
        {"[deepfilternet] df_num_layers", df->gru.layers, config->df_layers},
        {"[deepfilternet] df_pathway_kernel_size_t", df->conv_frames, config->df_kernel_frames},
        {"[df] df_order", df->conv_groups * df->conv_outputs, 2 * config->df_order},
        {"[df] nb_df", df->linear_out.groups * df->linear_out.outputs, 2 * config->df_order * config->df_bins},
        {"[df] nb_df (encoder)", encoder->df_fc_emb.groups * encoder->df_fc_emb.inputs,
         model->df_rows * model->channels},
        {"[df] nb_erb (encoder)", encoder->linear_in.groups * encoder->linear_in.inputs, deep},
        {"[df] nb_erb (decoder)", erb->linear_out.groups * erb->linear_out.outputs, deep},
        {"[df] nb_erb (convt3)", tmb_dfn_separable_rows(&erb->conv[0], model->erb_rows[3]), model->erb_rows[2]},
        {"[df] nb_erb (convt2)", tmb_dfn_separable_rows(&erb->conv[1], model->erb_rows[2]), model->erb_rows[1]},
        {"[df] nb_erb (convt1)", tmb_dfn_separable_rows(&erb->conv[2], model->erb_rows[1]), model->erb_rows[0]},
        {"the embedding (erb_dec.onnx)", erb->linear_in.groups * erb->linear_in.inputs, model->embedding},
        {"the embedding (df_dec.onnx)", df->linear_in.groups * df->linear_in.inputs, model->embedding},
    };
    for (size_t i = 0; i < sizeof checks / sizeof checks[0]; i++) {
        if (checks[i].network != checks[i].settings) {
            return tmb_fail(error, TMB_ERROR_MODEL, "the networks do not fit the settings: %s is %zu there, %zu here",
                            checks[i].what, checks[i].network, checks[i].settings);
        }
    }
    model->upper_band = 0;
    while (model->upper_band < config->erb_bands && config->band_edges[model->upper_band + 1] <= config->df_bins) {
        model->upper_band++;
    }
    return TMB_OK;
}

static tmb_status make_tables(tmb_dfn_model *model, tmb_error *error) {
    const size_t size = model->config.fft_size;
    const unsigned cpu = tmb_cpu_flags();
    tmb_gemm_f32_kernels_init(&model->gemm, cpu);
    tmb_gemm_fixed_kernels_init(&model->gemm_fixed, cpu);
    tmb_elementwise_kernels_init(&model->elementwise, cpu);
    tmb_depthwise_kernels_init(&model->depthwise, cpu);
    tmb_status status = tmb_fft_create(size, cpu, &model->fft, error);
    if (status != TMB_OK) {
        return status;
    }
    model->analysis_window = tmb_alloc_aligned(size, sizeof(float));
    model->synthesis_window = tmb_alloc_aligned(size, sizeof(float));
    if (model->analysis_window == NULL || model->synthesis_window == NULL) {
        return tmb_fail_memory(error, "the denoiser's window", size * sizeof(float));
    }
    /* Vorbis' window, whose squares at a distance of half its length add up to 1. */
    const double scale = 2.0 * (double)model->config.hop / ((double)size * (double)size);
    for (size_t n = 0; n < size; n++) {
        const double s = sin(pi * ((double)n + 0.5) / (double)size);
        const double w = sin(pi / 2 * s * s);
        model->synthesis_window[n] = (float)w;
        model->analysis_window[n] = (float)(w * scale);
    }
    model->bytes += sizeof *model + tmb_fft_bytes(model->fft) + 2 * size * sizeof(float);
    return TMB_OK;
}

static void free_model(tmb_dfn_model *model) {
    for (size_t i = 0; i < sizeof model->weights / sizeof model->weights[0]; i++) {
        free(model->weights[i]);
    }
    free(model->analysis_window);
    free(model->synthesis_window);
    tmb_fft_destroy(&model->fft);
    free(model);
}

/* Closes the archive. */
static tmb_status load(tmb_tar_gz *archive, tmb_dfn_model **out, tmb_error *error) {
    tmb_dfn_model *model = tmb_calloc(1, sizeof *model);
    tmb_status status = model != NULL ? load_archive(model, archive, error)
                                      : tmb_fail_memory(error, "the denoiser's model", sizeof *model);
    tmb_tar_gz_close(&archive);
    if (status == TMB_OK) {
        status = check_sizes(model, error);
    }
    if (status == TMB_OK) {
        status = make_tables(model, error);
    }
    if (status != TMB_OK) {
        if (model != NULL) {
            free_model(model);
        }
        return status;
    }
    atomic_init(&model->references, 1);
    *out = model;
    return TMB_OK;
}

tmb_status tmb_dfn_model_load(const char *path, tmb_dfn_model **out, tmb_error *error) {
    *out = NULL;
    tmb_tar_gz *archive = NULL;
    tmb_status status = tmb_tar_gz_open(path, &limits, &archive, error);
    if (status != TMB_OK) {
        return status;
    }
    status = load(archive, out, error);
    if (status != TMB_OK) {
        tmb_error_prefix(error, "%s", path);
    }
    return status;
}

tmb_dfn_model *tmb_dfn_model_retain(tmb_dfn_model *model) {
    atomic_fetch_add_explicit(&model->references, 1, memory_order_relaxed);
    return model;
}

void tmb_dfn_model_release(tmb_dfn_model **model) {
    if (model == NULL || *model == NULL) {
        return;
    }
    if (atomic_fetch_sub_explicit(&(*model)->references, 1, memory_order_acq_rel) == 1) {
        free_model(*model);
    }
    *model = NULL;
}

size_t tmb_dfn_model_bytes(const tmb_dfn_model *model) { return model->bytes; }

int tmb_dfn_model_rate(const tmb_dfn_model *model) { return model->config.rate; }
