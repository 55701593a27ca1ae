/* multipart/form-data as RFC 7578 and RFC 2046 describe it, taken apart as it comes. It knows nothing of the fields. */
#ifndef TMB_SERVER_MULTIPART_H
#define TMB_SERVER_MULTIPART_H

#include <stdbool.h>
#include <stddef.h>

typedef struct tmb_multipart tmb_multipart;

enum {
    TMB_BOUNDARY_LIMIT = 70,
    TMB_PART_NAME_LIMIT = 255,  /* bytes of a part's name and of its file's */
    TMB_PART_HEAD_LIMIT = 8192, /* bytes of one part's head */
    TMB_PART_LIMIT = 256        /* parts of one form */
};

/* A part's head. */
typedef struct tmb_form_part {
    char name[TMB_PART_NAME_LIMIT + 1];
    bool has_file_name;
    char file_name[TMB_PART_NAME_LIMIT + 1];
    char content_type[128]; /* "" if it says none */
} tmb_form_part;

/* Who gets the parts. False stops the reading for good. */
typedef struct tmb_part_reader {
    bool (*begin)(void *user, const tmb_form_part *part);
    bool (*data)(void *user, const char *data, size_t size); /* size > 0 */
    bool (*end)(void *user);
} tmb_part_reader;

/* NULL if there is no memory. `problem` gets why, if the content type has no good boundary. */
tmb_multipart *tmb_multipart_create(const char *content_type, const tmb_part_reader *reader, void *user,
                                    const char **problem);
void tmb_multipart_destroy(tmb_multipart *multipart);

/* The next bytes, in pieces of any size. False if the form is malformed or the reader stopped. */
bool tmb_multipart_write(tmb_multipart *multipart, const char *data, size_t size);
/* All bytes were written. False if the closing boundary did not come. */
bool tmb_multipart_finish(tmb_multipart *multipart);

/* What is malformed, as in "a part has no name"; NULL if nothing is. */
const char *tmb_multipart_problem(const tmb_multipart *multipart);

#endif
