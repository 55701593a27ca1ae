/* Any bytes as a form: "CONTENT TYPE <0x1e> BODY". However the body is cut into pieces, the same parts come out. */
#include "fuzz_parts.h"

#include "base/buffer.h"
#include "base/utf8.h"
#include "server/multipart.h"

typedef struct heard {
    tmb_buffer text;
    bool open;
} heard;

static bool on_begin(void *user, const tmb_form_part *part) {
    heard *all = user;
    fuzz_check(!all->open && part->name[0] && strlen(part->name) <= TMB_PART_NAME_LIMIT);
    fuzz_check(strlen(part->file_name) <= TMB_PART_NAME_LIMIT &&
               strlen(part->content_type) < sizeof part->content_type);
    all->open = true;
    (void)tmb_buffer_printf(&all->text, "%s|%d%s|%s|", part->name, part->has_file_name, part->file_name,
                            part->content_type);
    return true;
}

static bool on_data(void *user, const char *data, size_t size) {
    heard *all = user;
    fuzz_check(all->open && size > 0);
    (void)tmb_buffer_append(&all->text, data, size);
    return true;
}

static bool on_end(void *user) {
    heard *all = user;
    fuzz_check(all->open);
    all->open = false;
    (void)tmb_buffer_append(&all->text, "\n", 1);
    return true;
}

static const tmb_part_reader reader = {.begin = on_begin, .data = on_data, .end = on_end};

/* Returns whether the form is well-formed; what was heard is comparable in either case. */
static bool read_in_pieces(const char *type, const fuzz_part *body, size_t piece, tmb_buffer *out) {
    heard all = {.text = {.maximum = 1 << 22}};
    const char *problem = NULL;
    bool good = false;
    tmb_multipart *multipart = tmb_multipart_create(type, &reader, &all, &problem);
    fuzz_check(multipart || problem);
    if (multipart != NULL) {
        good = true;
        for (size_t at = 0; good && at < body->size; at += piece) {
            size_t count = body->size - at < piece ? body->size - at : piece;
            good = tmb_multipart_write(multipart, body->text + at, count);
        }
        good = good && tmb_multipart_finish(multipart);
        fuzz_check(good == (tmb_multipart_problem(multipart) == NULL));
        tmb_multipart_destroy(multipart);
    }
    *out = all.text;
    return good;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_part parts[2];
    fuzz_split(data, size, parts, 2);
    char *type = malloc(parts[0].size + 1);
    fuzz_check(type != NULL);
    memcpy(type, parts[0].text, parts[0].size);
    type[parts[0].size] = 0;
    if (parts[1].text != NULL) {
        static const size_t pieces[] = {1, 2, 3, 7, 64};
        tmb_buffer whole;
        bool good = read_in_pieces(type, &parts[1], parts[1].size + 1, &whole);
        for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++) {
            tmb_buffer other;
            fuzz_check(read_in_pieces(type, &parts[1], pieces[i], &other) == good);
            fuzz_check(other.size == whole.size && (!whole.size || memcmp(other.data, whole.data, whole.size) == 0));
            tmb_buffer_free(&other);
        }
        tmb_buffer_free(&whole);
    }
    free(type);
    fuzz_free_parts(parts, 2);
    return 0;
}

void fuzz_seeds(fuzz_add_seed add) {
    static const char *const inputs[] = {
        "multipart/form-data; boundary=b\x1e--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nx\r\n--b--\r\n",
        "multipart/form-data; boundary=\"b b\"; charset=utf-8\x1epre\r\n--b b \t\r\nContent-Type: audio/wav\r\n"
        "Content-Disposition: form-data; name=audio; filename=a.wav; filename*=utf-8''%c3%a4\r\n\r\nRIFF\r\n--b b\r\n"
        "content-disposition:form-data;name=\"t\\\"\\\\\"\r\n\r\n\r\n--b b--\r\nepilogue",
        "Multipart/Form-Data; Boundary=XX\x1e--XX\r\nContent-Disposition: form-data;\r\n "
        "name=a\r\n\r\n\r\n--XXY\r\n-\r\n"
        "--XX\r\nContent-Disposition: form-data\r\n\r\n\r\n--XX--",
        "multipart/form-data; boundary=-\x1e---\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n\r\n-----",
        "multipart/form-data; boundary=b\x1e--b\r\nContent-Transfer-Encoding: base64\r\nX\r\n\r\n--b",
    };
    for (size_t i = 0; i < sizeof inputs / sizeof inputs[0]; i++) {
        add(inputs[i], strlen(inputs[i]));
    }
}
