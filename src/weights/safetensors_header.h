/* The header of one safetensors file. */
#ifndef TMB_WEIGHTS_SAFETENSORS_HEADER_H
#define TMB_WEIGHTS_SAFETENSORS_HEADER_H

#include "weights/safetensors.h"

/* Longest header that is read; the format's own limit. */
#define TMB_SAFETENSORS_HEADER_MAX 100000000
/* More tensors than any model here has; keeps a hostile header's memory in bounds. */
#define TMB_SAFETENSORS_TENSORS_MAX 65536

/* Checks a whole file in memory and lists its tensors. `bytes` [size] must stay; the tensors' data point
 * into it, their names are allocated; the list is freed by tmb_safetensors_header_free. `name` is the file's,
 * for messages. Tensors come in the order of their data. */
tmb_status tmb_safetensors_header_parse(const char *name, const unsigned char *bytes, uint64_t size, tmb_tensor **out,
                                        size_t *count, tmb_error *error);

void tmb_safetensors_header_free(tmb_tensor *tensors, size_t count);

#endif
