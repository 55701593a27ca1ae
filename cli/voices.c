#include "voices.h"

#include "shared.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <utf8proc.h>

enum { MAXIMUM_TRANSCRIPT = 1024 * 1024, MAXIMUM_LETTERS = 64 };

void cli_voice_free(cli_voice *voice) {
    free(voice->name);
    free(voice->path);
    free(voice->transcript);
    *voice = (cli_voice){0};
}

/* NFC, so that a name is found however its accents were typed; NULL: not UTF-8, or no memory. */
static char *normal(const char *name) { return (char *)utf8proc_NFC((const utf8proc_uint8_t *)name); }

static char *join(const char *folder, const char *name, size_t length, const char *ending) {
    size_t size = strlen(folder) + length + strlen(ending) + 2;
    char *path = malloc(size);
    if (path != NULL) {
        (void)snprintf(path, size, "%s/%.*s%s", folder, (int)length, name, ending);
    }
    return path;
}

char *cli_voices_folder(void) {
    static const char rest[] = "timbre/voices";
    const char *data = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
    if (data != NULL && data[0] == '/') {
        return join(data, rest, sizeof rest - 1, "");
    }
    return home != NULL && home[0] != '\0' ? join(home, ".local/share/timbre/voices", 26, "") : NULL;
}

typedef struct visit {
    bool (*each)(void *user, const cli_voice *voice);
    void *user;
    bool ended;
} visit;

static bool show(void *user, const tmb_folder_voice *found) {
    visit *v = user;
    cli_voice voice = {.name = strdup(found->name),
                       .path = strdup(found->path),
                       .transcript = found->transcript != NULL ? strdup(found->transcript) : NULL,
                       .saved = found->transcript == NULL};
    if (voice.name != NULL && voice.path != NULL && (voice.saved || voice.transcript != NULL)) {
        v->ended = !v->each(v->user, &voice);
    }
    cli_voice_free(&voice);
    return !v->ended;
}

static bool stop(void *user, const tmb_folder_voice *found) {
    (void)user;
    (void)found;
    return false;
}

void cli_voices_each(const char *extra, bool (*each)(void *user, const cli_voice *voice), void *user) {
    char *own = cli_voices_folder();
    const char *const folders[] = {extra, own, CLI_DATA_FOLDER "/voices"};
    visit v = {each, user, false};
    for (size_t i = 0; i < CLI_LENGTH(folders) && !v.ended; i++) {
        if (folders[i] != NULL) {
            (void)tmb_voice_folder(folders[i], show, &v, NULL);
        }
    }
    free(own);
}

bool cli_voices_can_be_read(const char *extra) {
    tmb_error error = {0};
    if (extra == NULL || tmb_voice_folder(extra, stop, NULL, &error) == TMB_OK) {
        return true;
    }
    cli_error("--voices: %s", error.message);
    return false;
}

typedef struct search {
    char *name;
    cli_voice found;
} search;

static bool compare(void *user, const cli_voice *voice) {
    search *s = user;
    if (strcmp(voice->name, s->name) != 0) {
        return true;
    }
    s->found = (cli_voice){.name = strdup(voice->name),
                           .path = strdup(voice->path),
                           .transcript = voice->transcript != NULL ? strdup(voice->transcript) : NULL,
                           .saved = voice->saved};
    return false;
}

bool cli_voice_find(const char *extra, const char *name, cli_voice *out) {
    search s = {.name = normal(name)};
    if (s.name != NULL) {
        cli_voices_each(extra, compare, &s);
    }
    free(s.name);
    *out = s.found;
    bool whole = out->name != NULL && out->path != NULL && (out->saved || out->transcript != NULL);
    if (!whole) {
        cli_voice_free(out);
    }
    return whole;
}

/* Letters of any script, and nothing that a path or a terminal would mind. */
static bool is_good_name(const char *name) {
    size_t letters = 0;
    utf8proc_int32_t code;
    if (name[0] == '\0' || name[0] == '.' || name[0] == '-') {
        return false;
    }
    for (utf8proc_ssize_t length; *name != '\0'; name += length) {
        length = utf8proc_iterate((const utf8proc_uint8_t *)name, (utf8proc_ssize_t)strnlen(name, 4), &code);
        utf8proc_category_t category = length > 0 ? utf8proc_category(code) : UTF8PROC_CATEGORY_CN;
        if (length <= 0 || code == '/' || code == '\\' || category == UTF8PROC_CATEGORY_CC ||
            category == UTF8PROC_CATEGORY_CN || ++letters > MAXIMUM_LETTERS) {
            return false;
        }
    }
    return true;
}

char *cli_voice_path(const char *name) {
    char *own = cli_voices_folder(), *same = is_good_name(name) ? normal(name) : NULL, *path = NULL;
    if (own == NULL) {
        cli_error("there is no home folder for voices: name a file with -o FILE");
    } else if (same == NULL) {
        cli_error("\"%s\" cannot be a voice's name: at most %d characters, no slash, not beginning with . or -", name,
                  MAXIMUM_LETTERS);
    } else if (cli_make_folder(own)) {
        path = join(own, same, strlen(same), ".tmbvoice");
    }
    free(own);
    free(same);
    return path;
}

static bool list_name(void *user, const cli_voice *voice) {
    char *list = user;
    size_t used = strlen(list);
    (void)snprintf(list + used, 400 - used, "%s%s", used > 0 ? ", " : "", voice->name);
    return used + strlen(voice->name) < 300;
}

bool cli_voice_resolve(const char *extra, tmb_clone_request *request, cli_voice *voice, char **text) {
    struct stat status;
    if (request->voice == NULL || cli_is_standard(request->voice) || strchr(request->voice, '/') != NULL ||
        stat(request->voice, &status) == 0) {
        return true;
    }
    if (!cli_voices_can_be_read(extra)) {
        return false;
    }
    if (!cli_voice_find(extra, request->voice, voice)) {
        char known[400] = "";
        cli_voices_each(extra, list_name, known);
        cli_error("%s is neither a file nor the name of a voice; %s%s", request->voice,
                  known[0] != '\0' ? "there are: " : "`timbre voice create` makes one", known);
        return false;
    }
    if (voice->saved) {
        request->voice = voice->path;
        return true;
    }
    size_t size;
    *text = cli_read_text(voice->transcript, MAXIMUM_TRANSCRIPT, &size);
    if (*text == NULL) {
        return false;
    }
    /* The line break that ends the file is not said. */
    for (size = strlen(*text); size > 0 && strchr(" \t\r\n", (*text)[size - 1]) != NULL;) {
        (*text)[--size] = '\0';
    }
    request->voice = NULL;
    request->ref_audio = voice->path;
    request->ref_text = *text;
    return true;
}
