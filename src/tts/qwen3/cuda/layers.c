#include "tts/qwen3/cuda/cuda_lm.h"

#include "base/sizes.h"

/* Up to so many columns of weights the sum of a row is one warp's; more are shared by four. */
#define ALONE_COLUMNS 256
/* From so many vectors on wide tiles take a product. */
#define WIDE_COLUMNS 16

static tmb_linear_arguments product_arguments(const tmb_cuda_lm *lm, const tmb_cuda_product *product,
                                              tmb_cuda_columns columns) {
    const tmb_cuda_matrix *matrix = product->matrix;
    return (tmb_linear_arguments){.weights = matrix->data,
                                  .x = product->x,
                                  .slots = product->x == 0 ? lm->slots : 0,
                                  .norm = product->norm,
                                  .bias = product->bias,
                                  .out = product->out,
                                  .live = columns.live,
                                  .type = matrix->type,
                                  .rows = matrix->rows,
                                  .k = matrix->columns,
                                  .panel_bytes = matrix->panel_bytes,
                                  .columns = (int32_t)columns.count,
                                  .columns_each = (int32_t)columns.each,
                                  .x_stride = (int32_t)product->x_stride,
                                  .out_stride = (int32_t)product->out_stride,
                                  .mode = product->mode,
                                  .wanted = matrix->wanted,
                                  .eps = (float)product->eps};
}

static unsigned product_threads(const tmb_cuda_matrix *matrix) { return matrix->columns <= ALONE_COLUMNS ? 32 : 128; }

static tmb_gpu_grid product_grid(const tmb_cuda_matrix *matrix, tmb_cuda_columns columns) {
    return (tmb_gpu_grid){(unsigned)tmb_ceil_div((size_t)matrix->rows, TMB_LINEAR_ROWS),
                          (unsigned)tmb_ceil_div(columns.count, TMB_LINEAR_COLUMNS), 1, product_threads(matrix)};
}

/* Norm and rounding of the vectors once, in a kernel of their own, then the product: what comes out is the same. */
static void multiply_wide(const tmb_cuda_lm *lm, tmb_gpu_recorder *recorder, const tmb_cuda_product *product,
                          tmb_cuda_columns columns) {
    const tmb_cuda_matrix *matrix = product->matrix;
    tmb_linear_arguments arguments = product_arguments(lm, product, columns);
    if (matrix->rounded || product->norm != 0) {
        const tmb_wide_rows_arguments rows = {.x = product->x,
                                              .norm = product->norm,
                                              .out = lm->wide,
                                              .type = !matrix->rounded               ? TMB_GPU_F32
                                                      : matrix->type == TMB_GPU_BF16 ? TMB_GPU_BF16
                                                                                     : TMB_GPU_Q8,
                                              .k = matrix->columns,
                                              .columns = (int32_t)columns.count,
                                              .x_stride = (int32_t)product->x_stride,
                                              .eps = (float)product->eps};
        tmb_gpu_kernel(recorder, TMB_KERNEL_tmb_wide_rows,
                       (tmb_gpu_grid){(unsigned)columns.count, 1, 1, product_threads(matrix)}, &rows);
        arguments.x = lm->wide;
        arguments.x_stride = (int32_t)tmb_round_up((size_t)matrix->columns, 32);
    }
    tmb_gpu_kernel(recorder, matrix->rounded ? TMB_KERNEL_tmb_linear_wide_mma : TMB_KERNEL_tmb_linear_wide,
                   (tmb_gpu_grid){(unsigned)tmb_ceil_div((size_t)matrix->rows, TMB_WIDE_ROWS),
                                  (unsigned)tmb_ceil_div(columns.count, TMB_WIDE_COLUMNS), 1, product_threads(matrix)},
                   &arguments);
}

void tmb_cuda_multiply(const tmb_cuda_lm *lm, tmb_gpu_recorder *recorder, const tmb_cuda_product *product,
                       tmb_cuda_columns columns) {
    if (columns.live == 0 && product->x != 0 && columns.count >= WIDE_COLUMNS) {
        multiply_wide(lm, recorder, product, columns);
        return;
    }
    const tmb_linear_arguments arguments = product_arguments(lm, product, columns);
    tmb_gpu_kernel(recorder, product->matrix->rounded ? TMB_KERNEL_tmb_linear_mma : TMB_KERNEL_tmb_linear,
                   product_grid(product->matrix, columns), &arguments);
}

/* Rows of a prompt that a block of attention takes. */
static size_t rows_tile(const tmb_qwen3_transformer_config *config) {
    size_t group = config->attention_heads / config->key_value_heads;
    size_t rows = TMB_ATTEND_ROWS_QUERIES / group, fit = TMB_ATTEND_GROUP_FLOATS / (group * config->head_dim);
    rows = rows < fit ? rows : fit;
    return rows > 0 ? rows : 1;
}

static tmb_attend_arguments attend_arguments(const tmb_cuda_lm *lm, const tmb_cuda_stack *stack, size_t layer,
                                             tmb_cuda_columns columns, tmb_cuda_place place) {
    const tmb_qwen3_transformer_config *config = &stack->config;
    size_t layer_bytes = stack->page_bytes / config->layers;
    return (tmb_attend_arguments){.cache = {.slots = place.slots,
                                            .page = place.slots != 0 ? 0 : lm->predictor_pages,
                                            .page_bytes = (int64_t)stack->page_bytes,
                                            .layer_offset = (int64_t)(layer * layer_bytes),
                                            .page_positions = (int32_t)stack->page_positions,
                                            .half = stack->half,
                                            .position = (int32_t)place.position},
                                  .qkv = lm->qkv,
                                  .out = lm->attended,
                                  .query_norm = stack->layers[layer].query_norm,
                                  .key_norm = stack->layers[layer].key_norm,
                                  .cosines = stack->cosines,
                                  .sines = stack->sines,
                                  .live = columns.live,
                                  .qkv_stride = (int32_t)lm->qkv_stride,
                                  .out_stride = (int32_t)lm->attended_stride,
                                  .heads = (int32_t)config->attention_heads,
                                  .key_heads = (int32_t)config->key_value_heads,
                                  .head_dim = (int32_t)config->head_dim,
                                  .rows_each = (int32_t)(place.prompt ? columns.count : columns.each),
                                  .rows_tile = (int32_t)rows_tile(config),
                                  .eps = (float)config->rms_norm_eps,
                                  .scale = 1.0f / __builtin_sqrtf((float)config->head_dim)};
}

/* A prompt's rows: their keys and values first, since rows wait for those of others. */
static void attend_prompt(tmb_gpu_recorder *recorder, const tmb_qwen3_transformer_config *config, size_t rows,
                          const tmb_attend_arguments *arguments) {
    unsigned heads = (unsigned)config->key_value_heads;
    tmb_gpu_kernel(recorder, TMB_KERNEL_tmb_store_keys, (tmb_gpu_grid){heads, (unsigned)rows, 1, 32}, arguments);
    tmb_gpu_kernel(
        recorder, TMB_KERNEL_tmb_attend_rows,
        (tmb_gpu_grid){heads, (unsigned)tmb_ceil_div(rows, rows_tile(config)), 1, config->head_dim < 64 ? 64 : 128},
        arguments);
}

static void attend(const tmb_cuda_lm *lm, tmb_gpu_recorder *recorder, const tmb_cuda_stack *stack, size_t layer,
                   tmb_cuda_columns columns, tmb_cuda_place place) {
    const tmb_qwen3_transformer_config *config = &stack->config;
    const tmb_attend_arguments arguments = attend_arguments(lm, stack, layer, columns, place);
    if (place.prompt) {
        attend_prompt(recorder, config, columns.count, &arguments);
        return;
    }
    size_t work = config->attention_heads / config->key_value_heads * config->head_dim;
    tmb_gpu_grid grid = {(unsigned)config->key_value_heads, (unsigned)(columns.count / columns.each), 1,
                         work <= 32   ? 32
                         : work <= 64 ? 64
                                      : 128};
    tmb_gpu_kernel(recorder, TMB_KERNEL_tmb_attend, grid, &arguments);
}

/* Whether attention is a part of the product behind it: if there are few positions. */
static bool is_few(const tmb_cuda_stack *stack, tmb_cuda_columns columns, tmb_cuda_place place) {
    return place.slots == 0 && stack->config.attention_heads <= TMB_FEW_HEADS &&
           stack->config.head_dim <= TMB_FEW_HEAD && stack->page_positions <= TMB_FEW_POSITIONS &&
           columns.each <= TMB_FEW_ROWS;
}

size_t tmb_cuda_layer_kernels(const tmb_cuda_stack *stack, tmb_cuda_columns columns, tmb_cuda_place place) {
    return is_few(stack, columns, place) ? 4 : 5;
}

/* x += the output layer's product of what attention makes of lm->qkv. */
static void attend_and_add(const tmb_cuda_lm *lm, tmb_gpu_recorder *recorder, const tmb_cuda_stack *stack, size_t layer,
                           tmb_gpu_address x, tmb_cuda_columns columns, tmb_cuda_place place) {
    const tmb_cuda_matrix *matrix = &stack->layers[layer].output;
    const tmb_cuda_product product = {.matrix = matrix,
                                      .x = lm->attended,
                                      .out = x,
                                      .x_stride = lm->attended_stride,
                                      .out_stride = lm->stride,
                                      .mode = TMB_LINEAR_ADD};
    if (!is_few(stack, columns, place)) {
        attend(lm, recorder, stack, layer, columns, place);
        tmb_cuda_multiply(lm, recorder, &product, columns);
        return;
    }
    tmb_attend_linear_arguments arguments = {.linear = product_arguments(lm, &product, columns),
                                             .attend = attend_arguments(lm, stack, layer, columns, place)};
    tmb_gpu_grid grid = product_grid(matrix, columns);
    if (grid.threads > 32) { /* attention is the longer part of it, and is shared by more warps */
        arguments.linear.warps = (int32_t)(grid.threads / 32);
        grid.threads = TMB_FEW_THREADS;
    }
    tmb_gpu_kernel(recorder, matrix->rounded ? TMB_KERNEL_tmb_attend_linear_mma : TMB_KERNEL_tmb_attend_linear, grid,
                   &arguments);
}

void tmb_cuda_stack_forward(const tmb_cuda_lm *lm, tmb_gpu_recorder *recorder, const tmb_cuda_stack *stack,
                            tmb_gpu_address x, tmb_cuda_columns columns, tmb_cuda_place place) {
    double eps = stack->config.rms_norm_eps;
    for (size_t i = 0; i < stack->config.layers; i++) {
        const tmb_cuda_layer *layer = &stack->layers[i];
        tmb_cuda_multiply(lm, recorder,
                          &(tmb_cuda_product){.matrix = &layer->qkv,
                                              .x = x,
                                              .norm = layer->attention_norm,
                                              .out = lm->qkv,
                                              .x_stride = lm->stride,
                                              .out_stride = lm->qkv_stride,
                                              .eps = eps},
                          columns);
        attend_and_add(lm, recorder, stack, i, x, columns, place);
        tmb_cuda_multiply(lm, recorder,
                          &(tmb_cuda_product){.matrix = &layer->gate_up,
                                              .x = x,
                                              .norm = layer->mlp_norm,
                                              .out = lm->hidden,
                                              .x_stride = lm->stride,
                                              .out_stride = lm->hidden_stride,
                                              .eps = eps,
                                              .mode = TMB_LINEAR_GATE},
                          columns);
        tmb_cuda_multiply(lm, recorder,
                          &(tmb_cuda_product){.matrix = &layer->down,
                                              .x = lm->hidden,
                                              .out = x,
                                              .x_stride = lm->hidden_stride,
                                              .out_stride = lm->stride,
                                              .mode = TMB_LINEAR_ADD},
                          columns);
    }
}

void tmb_cuda_store_hidden(const tmb_cuda_lm *lm, tmb_gpu_recorder *recorder, tmb_gpu_address x, tmb_gpu_address slots,
                           size_t columns, tmb_gpu_address live) {
    const tmb_norm_rows_arguments arguments = {.slots = slots,
                                               .x = x,
                                               .norm = lm->talker.norm,
                                               .live = live,
                                               .width = (int32_t)lm->talker.config.hidden_size,
                                               .x_stride = (int32_t)lm->stride,
                                               .eps = (float)lm->talker.config.rms_norm_eps,
                                               .always = live == 0};
    tmb_gpu_kernel(recorder, TMB_KERNEL_tmb_norm_rows, (tmb_gpu_grid){(unsigned)columns, 1, 1, 64}, &arguments);
}

void tmb_cuda_project_text(const tmb_cuda_lm *lm, tmb_gpu_recorder *recorder, size_t rows, tmb_gpu_address out,
                           size_t out_stride) {
    tmb_cuda_columns columns = {.count = rows, .each = 1};
    tmb_cuda_multiply(lm, recorder,
                      &(tmb_cuda_product){.matrix = &lm->text1,
                                          .x = lm->text,
                                          .bias = lm->text1_bias,
                                          .out = lm->text_hidden,
                                          .x_stride = lm->text_stride,
                                          .out_stride = lm->text_stride,
                                          .mode = TMB_LINEAR_SILU},
                      columns);
    tmb_cuda_multiply(lm, recorder,
                      &(tmb_cuda_product){.matrix = &lm->text2,
                                          .x = lm->text_hidden,
                                          .bias = lm->text2_bias,
                                          .out = out,
                                          .x_stride = lm->text_stride,
                                          .out_stride = out_stride},
                      columns);
}
