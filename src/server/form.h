/* multipart/form-data: texts into memory, files into the store's tmp/. */
#ifndef TMB_SERVER_FORM_H
#define TMB_SERVER_FORM_H

#include "server/problem.h"
#include "server/request.h"

/* NULL if there is no memory. What is wrong with the content type, tmb_form_problem says at once. */
tmb_form *tmb_form_create(tmb_request *request, const tmb_field *fields);
void tmb_form_destroy(tmb_form *form);

/* The next bytes. False once something is wrong (tmb_form_problem says what); the rest may be dropped. */
bool tmb_form_write(tmb_form *form, const char *data, size_t size);

/* Bytes of its texts, so far. */
uint64_t tmb_form_text_bytes(const tmb_form *form);

/* The form is complete: its texts as an object with the types of the table, the files taken out. NULL
 * if something is wrong. */
json_t *tmb_form_finish(tmb_form *form);

/* The first thing that is wrong; status 0: nothing so far. */
const tmb_problem *tmb_form_problem(const tmb_form *form);

/* The file part `name`, or NULL; the caller owns it. `file_name` and `content_type` (may be NULL) get
 * what the client called it, or "". */
tmb_upload *tmb_form_take_file(tmb_form *form, const char *name, char file_name[256], char content_type[80]);
bool tmb_form_has_file(const tmb_form *form, const char *name);

#endif
