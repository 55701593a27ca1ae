/* The page and its parts, embedded by tools/embed.py at build. */
#ifndef TMB_SERVER_WEB_ASSETS_H
#define TMB_SERVER_WEB_ASSETS_H

#include <stddef.h>

typedef struct tmb_asset {
    const char *path; /* of the URL; NULL ends the table */
    const char *content_type;
    const char *hash; /* first half of the SHA-256, in hexadecimal */
    const unsigned char *data;
    size_t size;
} tmb_asset;

extern const tmb_asset tmb_assets[];

#endif
