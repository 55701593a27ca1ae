/* Files that are read whole or mapped, with limits; folders. */
#ifndef TMB_BASE_FILE_H
#define TMB_BASE_FILE_H

#include "timbre/timbre.h"

#include <sys/types.h>

/* Opens a regular file (symbolic links are followed) to read; *bytes = its size. Never waits, also not
 * on a pipe. TMB_ERROR_IO names the path and the system's reason; a folder or device is one too. */
tmb_status tmb_file_open(const char *path, int *file, uint64_t *bytes, tmb_error *error);

/* The whole file with a 0 byte after it that *bytes does not count; free() it. A file over `limit` bytes is
 * TMB_ERROR_LIMIT. */
tmb_status tmb_file_read(const char *path, size_t limit, char **data, size_t *bytes, tmb_error *error);

/* Reads exactly `bytes` at `offset`; TMB_ERROR_IO if the file ends earlier. `name` is for the message. */
tmb_status tmb_file_read_at(int file, uint64_t offset, void *out, size_t bytes, const char *name, tmb_error *error);

/* Writes all bytes to a descriptor; false: errno says why. */
bool tmb_file_write_all(int file, const void *data, size_t bytes);

/* Writes a whole file under a temporary name beside it and renames it: there is the old file or the new one, with its
 * permissions, never a part. A pipe or device is written in place. TMB_ERROR_IO names the path and the system's
 * reason. */
tmb_status tmb_file_write(const char *path, const void *data, size_t bytes, tmb_error *error);

/* Makes a folder and those above it, each with `mode` if it is new, as mkdir -p. Returns false with errno. */
bool tmb_make_folders(const char *path, mode_t mode);

#endif
