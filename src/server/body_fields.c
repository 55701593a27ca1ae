#include "server/body_fields.h"

#include "server/output.h"

#include <pthread.h>
#include <string.h>

#define SETTING(field) offsetof(tmb_server_config, field)
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* The names under which the other routes' forms know their file: each form takes them all. */
#define FILE_NAMES                                                                                                     \
    { "file", "audio", "audio_sample", "ref_audio" }

static const char *const stream_formats[] = {"audio", "sse", NULL};
static const char *const encodings[] = {"s16", "s24", "float", NULL};
static const char *const levels[] = {"auto", "off", NULL};
static const char *const audio_choices[] = {"base64", "url", NULL};

/* What a server says of a field in its own words, because it takes something else than the command does. */
static const struct {
    const char *name, *summary;
} own_summaries[] = {
    {"ref_audio",
     "The voice to clone: the id of an uploaded file, a path inside --audio-root, a data: URI or bare base64, "
     "or a URL of an allowed host. Needed unless voice is given"},
    {"voice", "A stored voice instead of ref_audio, by its name or an alias"},
};

/* ---- Streaming, and what only OpenAI's endpoint has ---- */

static const tmb_field stream_fields[] = {
    {.name = "stream", .kind = TMB_FIELD_BOOLEAN, .fallback = "false", .summary = "Send the audio while it is made"},
    {.name = "stream_format",
     .kind = TMB_FIELD_CHOICE,
     .choices = stream_formats,
     .fallback = "\"audio\"",
     .summary =
         "With stream: the bare audio of one item, or server-sent events (progress, audio, result, error, done)"},
};

static const tmb_field speech_fields[] = {
    {.name = "input",
     .kind = TMB_FIELD_TEXT,
     .flags = TMB_FIELD_REQUIRED,
     .minimum = 1,
     .maximum_setting = SETTING(max_text),
     .example = "\"Good morning.\"",
     .summary = "What to say"},
    {.name = "model",
     .kind = TMB_FIELD_TEXT,
     .maximum = 256,
     .fallback = "\"tts-1\"",
     .summary = "The name of one of the server's models; any other name, as tts-1, is the one that has the voice"},
    {.name = "voice",
     .kind = TMB_FIELD_VOICE,
     .summary = "A stored voice or an alias: its name, or {\"id\": name}; otherwise a built-in speaker; any label if "
                "ref_audio is given"},
    {.name = "response_format",
     .kind = TMB_FIELD_CHOICE,
     .choices = tmb_speech_format_names,
     .fallback = "\"mp3\"",
     .summary = "Format of the audio"},
    {.name = "speed",
     .kind = TMB_FIELD_NUMBER,
     .minimum = 0.25,
     .maximum = 4,
     .fallback = "1.0",
     .summary = "2.0 is twice as fast, at the same pitch"},
    {.name = "stream",
     .kind = TMB_FIELD_BOOLEAN,
     .fallback = "true",
     .summary = "false: the audio comes when it is complete, with its length; otherwise it is sent while it is made"},
    {.name = "stream_format",
     .kind = TMB_FIELD_CHOICE,
     .choices = stream_formats,
     .fallback = "\"audio\"",
     .summary = "Bare audio or server-sent events"},
    {.name = "instructions",
     .kind = TMB_FIELD_TEXT,
     .maximum = 4096,
     .summary = "How a built-in speaker speaks, or the description of a voice; ignored if the model cannot follow it "
                "(X-Ignored says so)"},
    {.name = "task_type",
     .kind = TMB_FIELD_TEXT,
     .maximum = 64,
     .summary = "Base, CustomVoice or VoiceDesign: what the voice is, if there is a model for it; another is ignored "
                "(X-Ignored says so)"},
    {.name = "sample_rate",
     .kind = TMB_FIELD_INTEGER,
     .minimum = 8000,
     .maximum = 48000,
     .summary = "In Hz: pcm is 24000 unless asked, the others 48000; MP3 and Opus use the next rate they support"},
};

/* Fields of an item that OpenAI's endpoint has under names or with rules of its own, or not at all. */
static const char *const not_in_speech[] = {"text", "voice", "custom_id", "response_format", "model", NULL};
/* A described voice is nobody's; one that is stored is a voice, not an answer in some format. */
static const char *const not_in_design[] = {"speaker", NULL};
static const char *const not_in_stored_design[] = {"speaker",    "custom_id", "response_format",    "split_length",
                                                   "pauses",     "model",     "first_chunk_frames", "max_seconds",
                                                   "max_frames", NULL};

/* ---- From the library's table ---- */

static const char *summary_of(const tmb_clone_field *row) {
    for (size_t i = 0; i < COUNT(own_summaries); i++) {
        if (strcmp(own_summaries[i].name, row->name) == 0) {
            return own_summaries[i].summary;
        }
    }
    return row->summary;
}

static void convert_text(const tmb_clone_field *row, tmb_field *out) {
    out->kind = TMB_FIELD_TEXT;
    out->maximum_setting = SETTING(max_text);
    if (strcmp(row->name, "text") == 0) {
        out->minimum = 1;
        out->example = "\"Good morning.\"";
    } else if (strcmp(row->name, "ref_audio") == 0) {
        out->minimum = 1;
        out->flags |= TMB_FIELD_REFERENCE;
    } else if (strcmp(row->name, "voice") == 0) {
        out->kind = TMB_FIELD_NAME;
    } else if (strcmp(row->name, "custom_id") == 0 || strcmp(row->name, "speaker") == 0 ||
               strcmp(row->name, "model") == 0) {
        out->maximum_setting = 0;
        out->maximum = 256;
    }
}

static void convert_number(const tmb_clone_field *row, tmb_field *out) {
    bool narrower = row->server_minimum != 0 || row->server_maximum != 0;
    out->kind = row->type == TMB_CLONE_NUMBER ? TMB_FIELD_NUMBER : TMB_FIELD_INTEGER;
    out->minimum = narrower ? row->server_minimum : row->minimum;
    out->maximum = narrower ? row->server_maximum : row->maximum;
    if (strcmp(row->name, "max_seconds") == 0) {
        out->maximum_setting = SETTING(max_speech_seconds);
    }
}

static tmb_field convert(const tmb_clone_field *row, bool lists) {
    tmb_field out = {.name = row->name,
                     .fallback = row->server_fallback != NULL ? row->server_fallback : row->fallback,
                     .summary = summary_of(row)};
    for (size_t i = 0; i < COUNT(row->aliases); i++) {
        out.aliases[i] = row->aliases[i];
    }
    out.flags = (row->flags & TMB_CLONE_REQUIRED ? TMB_FIELD_REQUIRED : 0u) |
                (lists && (row->flags & TMB_CLONE_PER_ITEM) ? TMB_FIELD_LIST : 0u) |
                (row->flags & TMB_CLONE_EMPTY_IS_NONE ? TMB_FIELD_EMPTY_IS_NONE : 0u);
    switch (row->type) {
    case TMB_CLONE_TEXT: convert_text(row, &out); break;
    case TMB_CLONE_LANGUAGE: out.kind = TMB_FIELD_LANGUAGE; break;
    case TMB_CLONE_BOOLEAN: out.kind = TMB_FIELD_BOOLEAN; break;
    case TMB_CLONE_FORMAT:
        out.kind = TMB_FIELD_CHOICE;
        out.choices = tmb_format_names;
        break;
    case TMB_CLONE_LEVEL:
        out.kind = TMB_FIELD_CHOICE;
        out.choices = row->choices;
        break;
    case TMB_CLONE_NUMBER:
    case TMB_CLONE_INTEGER:
    case TMB_CLONE_LENGTH:
    case TMB_CLONE_SEED:
    default: convert_number(row, &out); break;
    }
    return out;
}

typedef struct table {
    tmb_field *fields; /* [TMB_BODY_FIELDS_MAX], the last one empty */
    size_t count;
} table;

static void add(table *to, tmb_field field) {
    if (to->count + 1 < TMB_BODY_FIELDS_MAX) {
        to->fields[to->count++] = field;
    }
}

static bool is_listed(const char *const *names, const char *name) {
    for (size_t i = 0; names != NULL && names[i] != NULL; i++) {
        if (strcmp(names[i], name) == 0) {
            return true;
        }
    }
    return false;
}

/* `cleaning` false: without the fields of the cleaning stages. `kinds`: TMB_CLONE_... of fields that are left out. */
static void add_item_fields(table *to, bool cleaning, bool lists, bool form, unsigned kinds,
                            const char *const *without) {
    size_t count = 0;
    const tmb_clone_field *rows = tmb_clone_fields(&count);
    for (size_t i = 0; i < count; i++) {
        if ((!cleaning && (rows[i].flags & TMB_CLONE_CLEANING)) || (rows[i].flags & kinds) ||
            is_listed(without, rows[i].name)) {
            continue;
        }
        tmb_field field = convert(&rows[i], lists);
        if (form && strcmp(field.name, "ref_audio") == 0) {
            field = (tmb_field){.name = "ref_audio",
                                .aliases = FILE_NAMES,
                                .kind = TMB_FIELD_FILE,
                                .summary = "The recording of the voice to clone. Needed unless voice is given"};
        }
        add(to, field);
    }
}

tmb_field tmb_clone_body[TMB_BODY_FIELDS_MAX], tmb_clone_enhanced_body[TMB_BODY_FIELDS_MAX];
tmb_field tmb_clone_form[TMB_BODY_FIELDS_MAX], tmb_clone_enhanced_form[TMB_BODY_FIELDS_MAX];
tmb_field tmb_job_item_body[TMB_BODY_FIELDS_MAX], tmb_speech_body[TMB_BODY_FIELDS_MAX];
tmb_field tmb_enhance_form[TMB_BODY_FIELDS_MAX];
tmb_field tmb_custom_voice_body[TMB_BODY_FIELDS_MAX], tmb_voice_design_body[TMB_BODY_FIELDS_MAX];
tmb_field tmb_voice_design_store_body[TMB_BODY_FIELDS_MAX];

static void fill(void) {
    static const struct {
        tmb_field *fields;
        bool cleaning, lists, form;
        unsigned without; /* TMB_CLONE_... */
        const char *const *names;
    } bodies[] = {
        {.fields = tmb_clone_body, .lists = true, .without = TMB_CLONE_OWN_VOICE},
        {.fields = tmb_clone_enhanced_body, .cleaning = true, .lists = true, .without = TMB_CLONE_OWN_VOICE},
        {.fields = tmb_clone_form, .form = true, .without = TMB_CLONE_OWN_VOICE},
        {.fields = tmb_clone_enhanced_form, .cleaning = true, .form = true, .without = TMB_CLONE_OWN_VOICE},
        {.fields = tmb_custom_voice_body, .cleaning = true, .lists = true, .without = TMB_CLONE_REFERENCE},
        {.fields = tmb_voice_design_body,
         .cleaning = true,
         .lists = true,
         .without = TMB_CLONE_REFERENCE,
         .names = not_in_design},
        {.fields = tmb_job_item_body, .cleaning = true},
    };
    for (size_t i = 0; i < COUNT(bodies); i++) {
        table to = {.fields = bodies[i].fields};
        add_item_fields(&to, bodies[i].cleaning, bodies[i].lists, bodies[i].form, bodies[i].without, bodies[i].names);
        for (size_t k = 0; bodies[i].fields != tmb_job_item_body && k < COUNT(stream_fields); k++) {
            add(&to, stream_fields[k]);
        }
    }
    table speech = {.fields = tmb_speech_body};
    for (size_t i = 0; i < COUNT(speech_fields); i++) {
        add(&speech, speech_fields[i]);
    }
    add_item_fields(&speech, true, false, false, TMB_CLONE_OWN_VOICE, not_in_speech);
    table design = {.fields = tmb_voice_design_store_body};
    add(&design,
        (tmb_field){
            .name = "name", .kind = TMB_FIELD_NAME, .flags = TMB_FIELD_REQUIRED, .summary = "What to call the voice"});
    add_item_fields(&design, true, false, false, TMB_CLONE_REFERENCE, not_in_stored_design);
    /* A form brings its options with it, a bare file has them in the query. */
    table enhance = {.fields = tmb_enhance_form};
    add(&enhance, (tmb_field){.name = "audio",
                              .aliases = FILE_NAMES,
                              .kind = TMB_FIELD_FILE,
                              .flags = TMB_FIELD_REQUIRED,
                              .summary = "The file to clean"});
    for (const tmb_field *option = tmb_enhance_query; option->name != NULL; option++) {
        add(&enhance, *option);
    }
}

void tmb_body_fields_init(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, fill);
}

/* ---- The other bodies ---- */

const tmb_field tmb_upload_form[] = {
    {.name = "file",
     .aliases = FILE_NAMES,
     .kind = TMB_FIELD_FILE,
     .flags = TMB_FIELD_REQUIRED,
     .summary = "An audio file"},
    {0},
};

const tmb_field tmb_transcribe_form[] = {
    {.name = "audio",
     .aliases = FILE_NAMES,
     .kind = TMB_FIELD_FILE,
     .flags = TMB_FIELD_REQUIRED,
     .summary = "A recording of somebody who speaks"},
    {0},
};

const tmb_field tmb_pull_body[] = {
    {.name = "name",
     .kind = TMB_FIELD_TEXT,
     .flags = TMB_FIELD_REQUIRED,
     .minimum = 1,
     .maximum = 63,
     .summary = "One of the models that GET lists"},
    {0},
};

const tmb_field tmb_upload_query[] = {
    {.name = "name", .kind = TMB_FIELD_NAME, .summary = "What to call a body that is the file itself"},
    {0},
};

const tmb_field tmb_enhance_query[] = {
    {.name = "response_format",
     .kind = TMB_FIELD_CHOICE,
     .choices = tmb_format_names,
     .fallback = "\"wav\"",
     .summary = "Format of the audio"},
    {.name = "sample_rate",
     .kind = TMB_FIELD_INTEGER,
     .minimum = 8000,
     .maximum = 48000,
     .fallback = "48000",
     .summary = "Rate of the result in Hz; MP3 and Opus use the next rate they support"},
    {.name = "encoding",
     .kind = TMB_FIELD_CHOICE,
     .choices = encodings,
     .fallback = "\"s16\"",
     .summary = "Samples of WAV, FLAC and PCM"},
    {.name = "attenuation_limit_db",
     .kind = TMB_FIELD_NUMBER,
     .minimum = 0,
     .maximum = 100,
     .fallback = "100",
     .summary = "Noise is lowered by no more than this; 100 is no limit"},
    {.name = "post_filter_beta",
     .kind = TMB_FIELD_NUMBER,
     .minimum = 0,
     .maximum = 0.05,
     .fallback = "0",
     .summary = "Strength of the post filter"},
    {.name = "level",
     .kind = TMB_FIELD_CHOICE,
     .choices = levels,
     .fallback = "\"auto\"",
     .summary = "auto keeps speech whatever its level; off takes much too quiet speech for noise"},
    {.name = "salvage",
     .kind = TMB_FIELD_BOOLEAN,
     .fallback = "false",
     .summary = "Read a damaged or cut file as far as it goes instead of refusing it; X-Timbre-Warnings says what is "
                "missing"},
    {0},
};

const tmb_field tmb_voice_body[] = {
    {.name = "name", .kind = TMB_FIELD_NAME, .flags = TMB_FIELD_REQUIRED, .summary = "What to call it"},
    {.name = "ref_audio",
     .aliases = FILE_NAMES,
     .kind = TMB_FIELD_TEXT,
     .flags = TMB_FIELD_REQUIRED | TMB_FIELD_REFERENCE,
     .minimum = 1,
     .summary =
         "The recording: in JSON a file id, a path inside --audio-root, a data: URI or bare base64; in a form the "
         "file itself"},
    {.name = "ref_text",
     .kind = TMB_FIELD_TEXT,
     .flags = TMB_FIELD_EMPTY_IS_NONE,
     .maximum_setting = SETTING(max_text),
     .summary = "What the recording says"},
    {.name = "language",
     .kind = TMB_FIELD_LANGUAGE,
     .flags = TMB_FIELD_EMPTY_IS_NONE,
     .fallback = "\"auto\"",
     .summary = "Language of the recording"},
    {.name = "x_vector_only",
     .aliases = {"x_vector_only_mode"},
     .kind = TMB_FIELD_BOOLEAN,
     .fallback = "false",
     .summary = "Use only the speaker embedding (timbre), not the speaking style"},
    {.name = "run_pre_processing",
     .kind = TMB_FIELD_BOOLEAN,
     .fallback = "true",
     .summary = "Clean the recording first"},
    {0},
};

const tmb_field tmb_openai_voice_form[] = {
    {.name = "name", .kind = TMB_FIELD_NAME, .flags = TMB_FIELD_REQUIRED, .summary = "What to call it"},
    {.name = "audio_sample",
     .aliases = FILE_NAMES,
     .kind = TMB_FIELD_FILE,
     .flags = TMB_FIELD_REQUIRED,
     .summary = "The recording"},
    {.name = "ref_text",
     .kind = TMB_FIELD_TEXT,
     .flags = TMB_FIELD_EMPTY_IS_NONE,
     .maximum_setting = SETTING(max_text),
     .summary = "What the recording says"},
    {.name = "language",
     .kind = TMB_FIELD_LANGUAGE,
     .flags = TMB_FIELD_EMPTY_IS_NONE,
     .fallback = "\"auto\"",
     .summary = "Language of the recording"},
    {.name = "consent", .kind = TMB_FIELD_TEXT, .maximum = 1024, .summary = "Accepted for OpenAI's clients; not used"},
    {0},
};

const tmb_field tmb_queue_body[] = {
    {.name = "items",
     .kind = TMB_FIELD_ITEMS,
     .flags = TMB_FIELD_REQUIRED,
     .maximum_setting = SETTING(max_job_items),
     .fields = tmb_job_item_body,
     .summary = "What to say, item by item"},
    {.name = "label",
     .kind = TMB_FIELD_TEXT,
     .maximum = 200,
     .fallback = "\"\"",
     .summary = "Client-chosen name of the job"},
    {0},
};

const tmb_field tmb_results_query[] = {
    {.name = "audio",
     .kind = TMB_FIELD_CHOICE,
     .choices = audio_choices,
     .fallback = "\"base64\"",
     .summary = "base64: with audio_base64; url: with the URLs only"},
    {0},
};

const tmb_field tmb_voices_query[] = {
    {.name = "legacy",
     .kind = TMB_FIELD_BOOLEAN,
     .fallback = "false",
     .summary = "Names alone, as older clients expect"},
    {0},
};
