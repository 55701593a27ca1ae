#include "base/buffer.h"

#include "base/checked.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Room for `size` more bytes at the returned address, or NULL. */
static char *reserve(tmb_buffer *buffer, size_t size) {
    size_t needed = 0;
    if (buffer->failed || !tmb_add_size(buffer->size, size, &needed) || needed > buffer->maximum) {
        buffer->failed = true;
        return NULL;
    }
    if (needed > buffer->capacity || buffer->data == NULL) {
        size_t capacity = buffer->capacity ? buffer->capacity : 256;
        while (capacity < needed) {
            capacity = capacity > buffer->maximum / 2 ? buffer->maximum : capacity * 2;
        }
        char *data = realloc(buffer->data, capacity);
        if (data == NULL) {
            buffer->failed = true;
            return NULL;
        }
        buffer->data = data;
        buffer->capacity = capacity;
    }
    return buffer->data + buffer->size;
}

bool tmb_buffer_append(tmb_buffer *buffer, const void *data, size_t size) {
    char *room = reserve(buffer, size);
    if (room == NULL) {
        return false;
    }
    if (size) {
        memcpy(room, data, size);
    }
    buffer->size += size;
    return true;
}

bool tmb_buffer_printf(tmb_buffer *buffer, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    va_list again;
    va_copy(again, arguments);
    int length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    char *room = length < 0 ? NULL : reserve(buffer, (size_t)length + 1);
    if (room != NULL) {
        (void)vsnprintf(room, (size_t)length + 1, format, again);
        buffer->size += (size_t)length;
    }
    va_end(again);
    return room != NULL;
}

void tmb_buffer_free(tmb_buffer *buffer) {
    free(buffer->data);
    buffer->data = NULL;
    buffer->size = buffer->capacity = 0;
}
