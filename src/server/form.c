#include "server/form.h"

#include "base/memory.h"
#include "base/utf8.h"
#include "server/multipart.h"
#include "server/state.h"

#include <stdlib.h>
#include <string.h>

enum { part_limit = 48 };

typedef struct part {
    const tmb_field *field;
    tmb_buffer text;
    tmb_upload *upload; /* or NULL: a text, or a file that was taken */
    bool is_file;
    char file_name[256], content_type[80];
} part;

struct tmb_form {
    tmb_request *request;
    const tmb_field *fields;
    tmb_multipart *multipart;
    part parts[part_limit];
    size_t count;
    part *open;          /* the one whose bytes come */
    uint64_t text_bytes; /* of all texts */
    tmb_problem problem; /* the first one */
};

static bool fail(tmb_form *form, unsigned status, const char *field, const char *message) {
    if (!form->problem.status) {
        (void)tmb_problem_set(&form->problem, field, status, "%s", message);
    }
    return false;
}

static part *find_part(const tmb_form *form, const char *name) {
    const tmb_field *field = tmb_field_find(form->fields, name);
    for (size_t i = 0; field != NULL && i < form->count; i++) {
        if (form->parts[i].field == field) {
            return (part *)(uintptr_t)&form->parts[i];
        }
    }
    return NULL;
}

static bool fail_store(tmb_form *form, tmb_store_status status, const char *field) {
    char message[sizeof form->problem.message];
    unsigned code = tmb_store_problem(status, "file", message, sizeof message);
    return fail(form, code, field, message);
}

/* The client's name for a file without folders, control characters and broken UTF-8. */
static void copy_file_name(const char *name, char out[256]) {
    const char *slash = strrchr(name, '/');
    const char *backslash = strrchr(name, '\\');
    name = slash != NULL ? slash + 1 : name;
    name = backslash != NULL && backslash + 1 > name ? backslash + 1 : name;
    size_t length = strnlen(name, 255);
    while (length && ((unsigned char)name[length] & 0xC0) == 0x80) {
        length--;
    }
    memcpy(out, name, length);
    out[length] = 0;
    if (tmb_utf8_length(out, length) == SIZE_MAX) {
        out[0] = 0;
    }
    for (char *at = out; *at; at++) {
        if ((unsigned char)*at < 0x20 || *at == '"' || *at == 0x7f) {
            *at = '_';
        }
    }
}

/* A content type that may be sent back later: one "type/subtype". */
static void copy_content_type(const char *type, char out[80]) {
    size_t length = strspn(type, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-./");
    (void)snprintf(out, 80, "%.*s", (int)length, type);
}

/* What a problem is about, in a place that is short. */
static bool fail_unknown(tmb_form *form, const char *name) {
    char short_name[64];
    tmb_utf8_clean(name, strlen(name), short_name, sizeof short_name);
    char message[160];
    tmb_field_unknown(form->fields, name, "form", message, sizeof message);
    return fail(form, MHD_HTTP_BAD_REQUEST, short_name, message);
}

static bool begin_upload(tmb_form *form, part *at, const tmb_form_part *head) {
    const tmb_server_config *config = form->request->server->config;
    tmb_store_status status = tmb_upload_begin(form->request->server->store, config->max_upload_bytes, &at->upload);
    if (status != TMB_STORE_OK) {
        return fail_store(form, status, head->name);
    }
    at->is_file = true;
    copy_file_name(head->file_name, at->file_name);
    copy_content_type(head->content_type, at->content_type);
    return true;
}

static bool on_part(void *user, const tmb_form_part *head) {
    tmb_form *form = user;
    const tmb_field *field = tmb_field_find(form->fields, head->name);
    if (field == NULL) {
        return fail_unknown(form, head->name);
    }
    part *at = find_part(form, head->name);
    if (at != NULL) {
        /* A page's form sends an input that was left alone as an empty part. */
        bool is_empty = at->upload != NULL ? tmb_upload_bytes(at->upload) == 0 : at->text.size == 0;
        if (!is_empty) {
            return fail(form, MHD_HTTP_BAD_REQUEST, head->name, "comes twice");
        }
        tmb_upload_abort(&at->upload);
        tmb_buffer_free(&at->text);
    } else if (form->count == part_limit) {
        return fail(form, MHD_HTTP_BAD_REQUEST, head->name, "the form has too many parts");
    } else {
        at = &form->parts[form->count++];
    }
    *at = (part){.field = field};
    form->open = at;
    if (field->kind == TMB_FIELD_FILE || ((field->flags & TMB_FIELD_REFERENCE) && head->has_file_name)) {
        return begin_upload(form, at, head);
    }
    at->text.maximum = (size_t)form->request->server->config->max_text * 4 + 4096;
    return true;
}

static bool on_data(void *user, const char *data, size_t size) {
    tmb_form *form = user;
    part *at = form->open;
    const char *name = at->field->name;
    if (!at->is_file) {
        form->text_bytes += size;
        return tmb_buffer_append(&at->text, data, size) || fail(form, MHD_HTTP_BAD_REQUEST, name, "is too long");
    }
    tmb_store_status status = tmb_upload_write(at->upload, data, size);
    if (status == TMB_STORE_OK) {
        return true;
    }
    char message[96];
    (void)snprintf(message, sizeof message, "the file is larger than %llu bytes",
                   (unsigned long long)form->request->server->config->max_upload_bytes);
    return status == TMB_STORE_TOO_LARGE ? fail(form, MHD_HTTP_CONTENT_TOO_LARGE, name, message)
                                         : fail_store(form, status, name);
}

static bool on_end(void *user) {
    tmb_form *form = user;
    form->open = NULL;
    return true;
}

static const tmb_part_reader part_reader = {.begin = on_part, .data = on_data, .end = on_end};

tmb_form *tmb_form_create(tmb_request *request, const tmb_field *fields) {
    tmb_form *form = tmb_calloc(1, sizeof *form);
    if (form == NULL) {
        return NULL;
    }
    const char *problem = NULL;
    form->request = request;
    form->fields = fields;
    form->multipart = tmb_multipart_create(request->content_type, &part_reader, form, &problem);
    if (form->multipart == NULL && problem != NULL) {
        (void)fail(form, MHD_HTTP_BAD_REQUEST, "form", problem);
    } else if (form->multipart == NULL) {
        free(form);
        return NULL;
    }
    return form;
}

void tmb_form_destroy(tmb_form *form) {
    if (form == NULL) {
        return;
    }
    tmb_multipart_destroy(form->multipart);
    for (size_t i = 0; i < form->count; i++) {
        tmb_buffer_free(&form->parts[i].text);
        tmb_upload_abort(&form->parts[i].upload);
    }
    free(form);
}

bool tmb_form_write(tmb_form *form, const char *data, size_t size) {
    if (!form->problem.status && !tmb_multipart_write(form->multipart, data, size)) {
        const char *problem = tmb_multipart_problem(form->multipart);
        (void)fail(form, MHD_HTTP_BAD_REQUEST, "form",
                   problem != NULL ? problem : "is not well-formed multipart/form-data");
    }
    return !form->problem.status;
}

uint64_t tmb_form_text_bytes(const tmb_form *form) { return form->text_bytes; }

json_t *tmb_form_finish(tmb_form *form) {
    if (!form->problem.status && !tmb_multipart_finish(form->multipart)) {
        (void)fail(form, MHD_HTTP_BAD_REQUEST, "form", tmb_multipart_problem(form->multipart));
    }
    json_t *object = form->problem.status ? NULL : json_object();
    for (size_t i = 0; object != NULL && i < form->count; i++) {
        part *at = &form->parts[i];
        if (at->is_file) {
            continue;
        }
        tmb_problem problem = {.field = ""};
        json_t *value = tmb_field_parse(at->field, at->text.data != NULL ? at->text.data : "", at->text.size, &problem);
        /* An empty part is how a page's form says "nothing". */
        if (value == NULL || (at->text.size == 0 && !(at->field->flags & TMB_FIELD_REQUIRED))) {
            bool nothing = at->text.size == 0 && !(at->field->flags & TMB_FIELD_REQUIRED);
            json_decref(value);
            if (nothing) {
                continue;
            }
            (void)fail(form, MHD_HTTP_BAD_REQUEST, problem.field, problem.message);
            json_decref(object);
            return NULL;
        }
        (void)json_object_set_new(object, at->field->name, value);
    }
    return object;
}

const tmb_problem *tmb_form_problem(const tmb_form *form) { return &form->problem; }

bool tmb_form_has_file(const tmb_form *form, const char *name) {
    /* A browser sends a file input that was left alone as a file without name and bytes. */
    part *at = find_part(form, name);
    return at != NULL && at->upload != NULL && (at->file_name[0] || tmb_upload_bytes(at->upload));
}

tmb_upload *tmb_form_take_file(tmb_form *form, const char *name, char file_name[256], char content_type[80]) {
    part *at = tmb_form_has_file(form, name) ? find_part(form, name) : NULL;
    tmb_upload *upload = at != NULL ? at->upload : NULL;
    if (file_name) {
        (void)snprintf(file_name, 256, "%s", upload != NULL ? at->file_name : "");
    }
    if (content_type) {
        (void)snprintf(content_type, 80, "%s", upload != NULL ? at->content_type : "");
    }
    if (at != NULL) {
        at->upload = NULL;
    }
    return upload;
}
