/* Weights in the safetensors format, mapped read-only.
 *
 * Layout of a file: u64 little-endian header length, the header (a JSON object: name → dtype, shape,
 * data_offsets), the data. A model is one file or several shards named by model.safetensors.index.json.
 *
 * Files are hostile until proven otherwise: every length, offset, shape and name is checked at open, and a
 * tensor that was handed out lies inside its mapping. What no check at open can rule out is a file
 * that somebody truncates later, where touching the lost pages raises SIGBUS. Therefore
 * tmb_tensor_read and tmb_tensor_load_f32 read through the descriptor (a short file is an error there), and
 * code that walks `data` directly calls tmb_safetensors_check first: it should do so once for each
 * stretch of work, and keep no `data` pointer for longer than the packing of the weights takes.
 */
#ifndef TMB_WEIGHTS_SAFETENSORS_H
#define TMB_WEIGHTS_SAFETENSORS_H

#include "timbre/timbre.h"

#define TMB_TENSOR_RANK_MAX 8

typedef enum tmb_dtype {
    TMB_DTYPE_F32 = 0,
    TMB_DTYPE_F16,
    TMB_DTYPE_BF16,
    TMB_DTYPE_F64,
    TMB_DTYPE_I64,
    TMB_DTYPE_I32,
    TMB_DTYPE_I16,
    TMB_DTYPE_I8,
    TMB_DTYPE_U64,
    TMB_DTYPE_U32,
    TMB_DTYPE_U16,
    TMB_DTYPE_U8,
    TMB_DTYPE_BOOL,
    TMB_DTYPE_F8_E4M3,
    TMB_DTYPE_F8_E5M2,
    TMB_DTYPE_COUNT
} tmb_dtype;

/* Bytes of an element, and the format's name for it ("BF16"). */
size_t tmb_dtype_size(tmb_dtype dtype);
const char *tmb_dtype_name(tmb_dtype dtype);

/* One tensor, row-major; valid until its safetensors is closed. */
typedef struct tmb_tensor {
    const char *name;
    tmb_dtype dtype;
    int rank; /* 0 (a scalar) to 8 */
    size_t dims[TMB_TENSOR_RANK_MAX];
    const void *data; /* in the mapping, aligned to the element's size */
    size_t bytes, count;
    int file; /* the open shard, and where in it: for tmb_tensor_read */
    uint64_t offset;
} tmb_tensor;

typedef struct tmb_safetensors tmb_safetensors;

/* `path` is a .safetensors file, or a folder with model.safetensors or model.safetensors.index.json and the shards
 * that it names (plain file names in that folder). Errors: TMB_ERROR_MODEL if a folder has neither,
 * TMB_ERROR_IO, TMB_ERROR_FORMAT with file and tensor, TMB_ERROR_MEMORY. */
tmb_status tmb_safetensors_open(const char *path, tmb_safetensors **out, tmb_error *error);

/* Unmaps; every tensor is gone. */
void tmb_safetensors_close(tmb_safetensors **safetensors);

/* NULL if there is no such tensor. */
const tmb_tensor *tmb_safetensors_find(const tmb_safetensors *safetensors, const char *name);

/* The tensors in the order of their names, 0 <= index < count. */
size_t tmb_safetensors_count(const tmb_safetensors *safetensors);
const tmb_tensor *tmb_safetensors_at(const tmb_safetensors *safetensors, size_t index);

/* Bytes of all tensors. */
uint64_t tmb_safetensors_bytes(const tmb_safetensors *safetensors);

/* What was given to open. */
const char *tmb_safetensors_path(const tmb_safetensors *safetensors);

/* A number that changes when one of the files does: made of their sizes and times of change. */
uint64_t tmb_safetensors_stamp(const tmb_safetensors *safetensors);

/* TMB_ERROR_IO if a file is no longer as long as it was at open. */
tmb_status tmb_safetensors_check(const tmb_safetensors *safetensors, tmb_error *error);

/* The tensor `name`, which must have exactly these dims: TMB_ERROR_MODEL names the tensor and, if they differ, both
 * shapes. Any dtype. */
tmb_status tmb_tensor_require(const tmb_safetensors *safetensors, const char *name, int rank, const size_t *dims,
                              const tmb_tensor **out, tmb_error *error);

/* Whether `count` elements of the tensor, which lie at `data` in the tensor's own dtype (F32, F16 or BF16) and begin at
 * its element `begin`, are numbers: TMB_ERROR_MODEL names the tensor and the first element that is infinite or NaN. A
 * single one would make noise of everything that is spoken. */
tmb_status tmb_tensor_check_finite(const tmb_tensor *tensor, const void *data, size_t begin, size_t count,
                                   tmb_error *error);

/* Copies bytes [begin, begin + bytes) of the tensor by reading the file, not the mapping. */
tmb_status tmb_tensor_read(const tmb_tensor *tensor, size_t begin, size_t bytes, void *out, tmb_error *error);

/* Reads `count` elements from element `begin` on as floats (F32, F16, BF16 exactly; others:
 * TMB_ERROR_MODEL), by reading the file. Every element must be finite (tmb_tensor_check_finite). */
tmb_status tmb_tensor_read_f32(const tmb_tensor *tensor, size_t begin, size_t count, float *out, tmb_error *error);

/* Lets go of the memory that the mapping's pages of this tensor take; reading `data` brings them back. */
void tmb_tensor_release(const tmb_tensor *tensor);

/* require, then the whole tensor as floats in new memory of tmb_alloc_aligned (free() it), by reading the file. */
tmb_status tmb_tensor_load_f32(const tmb_safetensors *safetensors, const char *name, int rank, const size_t *dims,
                               float **out, tmb_error *error);

#endif
