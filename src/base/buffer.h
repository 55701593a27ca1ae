/* Bytes that grow up to a maximum. */
#ifndef TMB_BASE_BUFFER_H
#define TMB_BASE_BUFFER_H

#include <stdbool.h>
#include <stddef.h>

/* Zero-initialise, then set `maximum`. Once an append did not fit or memory ran out, `failed` stays set
 * and every later append is refused, so that a writer may check once at the end. */
typedef struct tmb_buffer {
    char *data;
    size_t size;
    size_t capacity;
    size_t maximum; /* bytes that it never exceeds; 0 = nothing fits */
    bool failed;
} tmb_buffer;

bool tmb_buffer_append(tmb_buffer *buffer, const void *data, size_t size);
bool tmb_buffer_printf(tmb_buffer *buffer, const char *format, ...) __attribute__((format(printf, 2, 3)));

void tmb_buffer_free(tmb_buffer *buffer);

#endif
