/* The links of a chained Ogg file. */
#ifndef TMB_IO_OGG_LINKS_H
#define TMB_IO_OGG_LINKS_H

#include "io/source.h"

/* More are refused. */
#define TMB_OGG_MAX_LINKS 1024

/* Where each logical file begins that was appended to the ones before it: radio recordings and plain
 * concatenation make them, and libsndfile reads the first only. */
typedef struct tmb_ogg_links {
    uint64_t *starts; /* owned */
    size_t count;
    uint64_t end; /* of the last one: a tag of up to 64 KiB may be behind */
} tmb_ogg_links;

/* Walks through all pages and compares their checksums. TMB_ERROR_FORMAT: a damaged page, or a file
 * that ends inside one. */
tmb_status tmb_ogg_scan(tmb_source *source, tmb_ogg_links *links, tmb_error *error);
void tmb_ogg_links_free(tmb_ogg_links *links);

#endif
