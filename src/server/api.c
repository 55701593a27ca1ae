/* The table of everything that the server offers: routes, their fields and ranges, their answers. */
#include "server/handlers.h"
#include "server/output.h"
#include "server/state.h"

static const char *const languages[] = {
    "auto",    "zh",         "en",         "ja",      "ko",      "de",       "fr",       "ru",     "pt",
    "es",      "it",         "Auto",       "Chinese", "English", "Japanese", "Korean",   "German", "French",
    "Russian", "Portuguese", "Spanish",    "Italian", "chinese", "english",  "japanese", "korean", "german",
    "french",  "russian",    "portuguese", "spanish", "italian", NULL};
static const char *const stream_formats[] = {"audio", "sse", NULL};
static const char *const encodings[] = {"s16", "s24", "float", NULL};
static const char *const levels[] = {"auto", "off", NULL};
static const char *const audio_choices[] = {"base64", "url", NULL};
/* Choices of OpenAI's clients; aac needs ffmpeg. */
static const char *const speech_formats[] = {"mp3", "opus", "aac", "flac", "wav", "pcm", NULL};

#define SETTING(field) offsetof(tmb_server_config, field)
#define TEXT_MAX SETTING(max_text)
#define SEED_MAX 9007199254740991.0 /* 2^53 - 1: exact in every JSON reader */

/* How speech is made; the same words everywhere. */
#define SAMPLING_FIELDS                                                                                                \
    {.name = "temperature",                                                                                            \
     .kind = TMB_FIELD_NUMBER,                                                                                         \
     .minimum = 0,                                                                                                     \
     .maximum = 2,                                                                                                     \
     .fallback = "1.0",                                                                                                \
     .summary = "Randomness; 0 always takes the likeliest"},                                                           \
        {.name = "top_p",                                                                                              \
         .kind = TMB_FIELD_NUMBER,                                                                                     \
         .minimum = 0.01,                                                                                              \
         .maximum = 1,                                                                                                 \
         .summary = "Nucleus sampling; the model's default where absent"},                                             \
        {.name = "top_k",                                                                                              \
         .kind = TMB_FIELD_INTEGER,                                                                                    \
         .minimum = 0,                                                                                                 \
         .maximum = 3072,                                                                                              \
         .summary = "Candidates kept; 0 is no limit"},                                                                 \
        {.name = "repetition_penalty",                                                                                 \
         .kind = TMB_FIELD_NUMBER,                                                                                     \
         .minimum = 0.5,                                                                                               \
         .maximum = 2,                                                                                                 \
         .summary = "Above 1 repeats less"},                                                                           \
        {.name = "seed",                                                                                               \
         .kind = TMB_FIELD_INTEGER,                                                                                    \
         .minimum = 0,                                                                                                 \
         .maximum = SEED_MAX,                                                                                          \
         .summary = "The same seed gives the same speech; a random one where absent, told in the result"},             \
    {                                                                                                                  \
        .name = "max_seconds", .kind = TMB_FIELD_NUMBER, .minimum = 0.1,                                               \
        .maximum_setting = SETTING(max_speech_seconds), .summary = "Longest speech"                                    \
    }

#define PROCESSING_FIELDS                                                                                              \
    {.name = "run_pre_processing",                                                                                     \
     .kind = TMB_FIELD_BOOLEAN,                                                                                        \
     .fallback = "true",                                                                                               \
     .summary = "Clean the reference first"},                                                                          \
    {                                                                                                                  \
        .name = "run_post_processing", .kind = TMB_FIELD_BOOLEAN, .fallback = "true",                                  \
        .summary = "Clean the speech; false keeps the model's 24 kHz"                                                  \
    }

#define X_VECTOR_FIELD                                                                                                 \
    {                                                                                                                  \
        .name = "x_vector_only", .kind = TMB_FIELD_BOOLEAN, .fallback = "false",                                       \
        .summary = "Take only the voice's colour from the reference, not its way of speaking"                          \
    }

#define FORMAT_FIELD                                                                                                   \
    {                                                                                                                  \
        .name = "response_format", .kind = TMB_FIELD_CHOICE, .choices = tmb_format_names, .fallback = "\"wav\"",       \
        .summary = "Format of the audio"                                                                               \
    }

#define STREAM_FIELDS                                                                                                  \
    {.name = "stream", .kind = TMB_FIELD_BOOLEAN, .fallback = "false", .summary = "Send the audio while it is made"},  \
    {                                                                                                                  \
        .name = "stream_format", .kind = TMB_FIELD_CHOICE, .choices = stream_formats, .fallback = "\"audio\"",         \
        .summary =                                                                                                     \
            "With stream: the bare audio of one item, or server-sent events (progress, audio, result, error, done)"    \
    }

#define ITEM_TEXT_FIELDS(list, null_list)                                                                              \
    {.name = "text",                                                                                                   \
     .kind = TMB_FIELD_TEXT,                                                                                           \
     .flags = TMB_FIELD_REQUIRED | (list),                                                                             \
     .minimum = 1,                                                                                                     \
     .maximum_setting = TEXT_MAX,                                                                                      \
     .example = "\"Good morning.\"",                                                                                   \
     .summary = "What to say"},                                                                                        \
        {.name = "ref_audio",                                                                                          \
         .kind = TMB_FIELD_TEXT,                                                                                       \
         .flags = (list) | TMB_FIELD_REFERENCE,                                                                        \
         .minimum = 1,                                                                                                 \
         .summary = "The voice to clone: a file id, a data: URI with base64, or a path inside --audio-root. Needed "   \
                    "unless voice is given"},                                                                          \
        {.name = "ref_text",                                                                                           \
         .kind = TMB_FIELD_TEXT,                                                                                       \
         .flags = TMB_FIELD_NULLABLE | (list) | (null_list),                                                           \
         .maximum_setting = TEXT_MAX,                                                                                  \
         .summary = "What the reference says; null takes the voice's colour only"},                                    \
        {.name = "voice", .kind = TMB_FIELD_NAME, .flags = (list), .summary = "A stored voice instead of ref_audio"},  \
        {.name = "language",                                                                                           \
         .kind = TMB_FIELD_CHOICE,                                                                                     \
         .flags = (list),                                                                                              \
         .choices = languages,                                                                                         \
         .fallback = "\"auto\"",                                                                                       \
         .summary = "Of the text"},                                                                                    \
    {                                                                                                                  \
        .name = "custom_id", .kind = TMB_FIELD_TEXT, .flags = TMB_FIELD_NULLABLE | (list) | (null_list),               \
        .maximum = 256, .summary = "Your name for the item, handed back"                                               \
    }

static const tmb_field clone_fields[] = {ITEM_TEXT_FIELDS(TMB_FIELD_LIST, TMB_FIELD_NULL_IN_LIST),
                                         SAMPLING_FIELDS,
                                         X_VECTOR_FIELD,
                                         FORMAT_FIELD,
                                         STREAM_FIELDS,
                                         {0}};
static const tmb_field clone_enhanced_fields[] = {ITEM_TEXT_FIELDS(TMB_FIELD_LIST, TMB_FIELD_NULL_IN_LIST),
                                                  SAMPLING_FIELDS,
                                                  PROCESSING_FIELDS,
                                                  X_VECTOR_FIELD,
                                                  FORMAT_FIELD,
                                                  STREAM_FIELDS,
                                                  {0}};
static const tmb_field job_item_fields[] = {ITEM_TEXT_FIELDS(0, 0), SAMPLING_FIELDS, PROCESSING_FIELDS,
                                            X_VECTOR_FIELD,         FORMAT_FIELD,    {0}};

/* Forms speak one item. */
#define FORM_ITEM_FIELDS                                                                                               \
    {.name = "text",                                                                                                   \
     .kind = TMB_FIELD_TEXT,                                                                                           \
     .flags = TMB_FIELD_REQUIRED,                                                                                      \
     .minimum = 1,                                                                                                     \
     .maximum_setting = TEXT_MAX,                                                                                      \
     .summary = "What to say"},                                                                                        \
        {.name = "ref_audio", .kind = TMB_FIELD_FILE, .summary = "The voice to clone. Needed unless voice is given"},  \
        {.name = "ref_text",                                                                                           \
         .kind = TMB_FIELD_TEXT,                                                                                       \
         .maximum_setting = TEXT_MAX,                                                                                  \
         .summary = "What the reference says"},                                                                        \
        {.name = "voice", .kind = TMB_FIELD_NAME, .summary = "A stored voice instead of ref_audio"},                   \
        {.name = "language",                                                                                           \
         .kind = TMB_FIELD_CHOICE,                                                                                     \
         .choices = languages,                                                                                         \
         .fallback = "\"auto\"",                                                                                       \
         .summary = "Of the text"},                                                                                    \
    {                                                                                                                  \
        .name = "custom_id", .kind = TMB_FIELD_TEXT, .maximum = 256, .summary = "Your name for the item, handed back"  \
    }

static const tmb_field clone_form_fields[] = {FORM_ITEM_FIELDS, SAMPLING_FIELDS, X_VECTOR_FIELD,
                                              FORMAT_FIELD,     STREAM_FIELDS,   {0}};
static const tmb_field clone_enhanced_form_fields[] = {
    FORM_ITEM_FIELDS, SAMPLING_FIELDS, PROCESSING_FIELDS, X_VECTOR_FIELD, FORMAT_FIELD, STREAM_FIELDS, {0}};

static const tmb_field upload_fields[] = {
    {.name = "file", .kind = TMB_FIELD_FILE, .flags = TMB_FIELD_REQUIRED, .summary = "An audio file"}, {0}};

#define ENHANCE_OPTIONS                                                                                                \
    FORMAT_FIELD,                                                                                                      \
        {.name = "sample_rate",                                                                                        \
         .kind = TMB_FIELD_INTEGER,                                                                                    \
         .minimum = 8000,                                                                                              \
         .maximum = 48000,                                                                                             \
         .fallback = "48000",                                                                                          \
         .summary = "Of the result, in Hz; MP3 and Opus take the next that they have"},                                \
        {.name = "encoding",                                                                                           \
         .kind = TMB_FIELD_CHOICE,                                                                                     \
         .choices = encodings,                                                                                         \
         .fallback = "\"s16\"",                                                                                        \
         .summary = "Of WAV, FLAC and PCM samples"},                                                                   \
        {.name = "attenuation_limit_db",                                                                               \
         .kind = TMB_FIELD_NUMBER,                                                                                     \
         .minimum = 0,                                                                                                 \
         .maximum = 100,                                                                                               \
         .fallback = "100",                                                                                            \
         .summary = "Noise is lowered by no more than this; 100 is no limit"},                                         \
        {.name = "salvage",                                                                                            \
         .kind = TMB_FIELD_BOOLEAN,                                                                                    \
         .fallback = "false",                                                                                          \
         .summary = "Read a damaged or cut file as far as it goes instead of refusing it; X-Timbre-Warnings says "     \
                    "what is missing"},                                                                                \
        {.name = "level",                                                                                              \
         .kind = TMB_FIELD_CHOICE,                                                                                     \
         .choices = levels,                                                                                            \
         .fallback = "\"auto\"",                                                                                       \
         .summary = "auto keeps speech whatever its level; off takes much too quiet speech for noise"},                \
    {                                                                                                                  \
        .name = "post_filter_beta", .kind = TMB_FIELD_NUMBER, .minimum = 0, .maximum = 0.05, .fallback = "0",          \
        .summary = "Strength of the post filter"                                                                       \
    }

static const tmb_field enhance_fields[] = {
    {.name = "audio", .kind = TMB_FIELD_FILE, .flags = TMB_FIELD_REQUIRED, .summary = "The file to clean"},
    ENHANCE_OPTIONS,
    {0}};
static const tmb_field enhance_query[] = {ENHANCE_OPTIONS, {0}};

static const tmb_field voice_fields[] = {
    {.name = "name", .kind = TMB_FIELD_NAME, .flags = TMB_FIELD_REQUIRED, .summary = "What to call it"},
    {.name = "ref_audio",
     .kind = TMB_FIELD_TEXT,
     .flags = TMB_FIELD_REQUIRED | TMB_FIELD_REFERENCE,
     .minimum = 1,
     .summary =
         "The reference: in JSON a file id, a data: URI or a path inside --audio-root; in a form the file itself"},
    {.name = "ref_text",
     .kind = TMB_FIELD_TEXT,
     .flags = TMB_FIELD_NULLABLE,
     .maximum_setting = TEXT_MAX,
     .summary = "What the reference says"},
    {.name = "language",
     .kind = TMB_FIELD_CHOICE,
     .choices = languages,
     .fallback = "\"auto\"",
     .summary = "Of the reference"},
    X_VECTOR_FIELD,
    {.name = "run_pre_processing",
     .kind = TMB_FIELD_BOOLEAN,
     .fallback = "true",
     .summary = "Clean the reference first"},
    {0}};
static const tmb_field openai_voice_fields[] = {
    {.name = "name", .kind = TMB_FIELD_NAME, .flags = TMB_FIELD_REQUIRED, .summary = "What to call it"},
    {.name = "audio_sample", .kind = TMB_FIELD_FILE, .flags = TMB_FIELD_REQUIRED, .summary = "The reference"},
    {.name = "ref_text", .kind = TMB_FIELD_TEXT, .maximum_setting = TEXT_MAX, .summary = "What the reference says"},
    {.name = "language",
     .kind = TMB_FIELD_CHOICE,
     .choices = languages,
     .fallback = "\"auto\"",
     .summary = "Of the reference"},
    {.name = "consent", .kind = TMB_FIELD_TEXT, .maximum = 1024, .summary = "Accepted for OpenAI's clients; not used"},
    {0}};

static const tmb_field queue_fields[] = {
    {.name = "items",
     .kind = TMB_FIELD_ITEMS,
     .flags = TMB_FIELD_REQUIRED,
     .maximum_setting = SETTING(max_job_items),
     .fields = job_item_fields,
     .summary = "What to say, item by item"},
    {.name = "label", .kind = TMB_FIELD_TEXT, .maximum = 200, .fallback = "\"\"", .summary = "Your name for the job"},
    {0}};
static const tmb_field results_query[] = {{.name = "audio",
                                           .kind = TMB_FIELD_CHOICE,
                                           .choices = audio_choices,
                                           .fallback = "\"base64\"",
                                           .summary = "base64: with audio_base64; url: with the URLs only"},
                                          {0}};

static const tmb_field speech_fields[] = {
    {.name = "input",
     .kind = TMB_FIELD_TEXT,
     .flags = TMB_FIELD_REQUIRED,
     .minimum = 1,
     .maximum_setting = TEXT_MAX,
     .summary = "What to say"},
    {.name = "model",
     .kind = TMB_FIELD_TEXT,
     .maximum = 256,
     .fallback = "\"tts-1\"",
     .summary = "Any name: the server has one model"},
    {.name = "voice",
     .kind = TMB_FIELD_VOICE,
     .flags = TMB_FIELD_NULLABLE,
     .summary = "A stored voice: its name, or {\"id\": name}"},
    {.name = "response_format",
     .kind = TMB_FIELD_CHOICE,
     .choices = speech_formats,
     .fallback = "\"mp3\"",
     .summary = "Format of the audio"},
    {.name = "speed",
     .kind = TMB_FIELD_NUMBER,
     .minimum = 0.25,
     .maximum = 4,
     .fallback = "1.0",
     .summary = "2.0 is twice as fast, at the same pitch"},
    {.name = "stream_format",
     .kind = TMB_FIELD_CHOICE,
     .choices = stream_formats,
     .fallback = "\"audio\"",
     .summary = "Bare audio or server-sent events"},
    {.name = "instructions",
     .kind = TMB_FIELD_TEXT,
     .flags = TMB_FIELD_NULLABLE,
     .maximum = 4096,
     .summary = "Accepted and ignored (X-Ignored says so)"},
    {.name = "sample_rate",
     .kind = TMB_FIELD_INTEGER,
     .minimum = 8000,
     .maximum = 48000,
     .summary = "pcm is 24000 unless asked, the rest 48000; MP3 and Opus take the next that they have"},
    {.name = "ref_audio",
     .kind = TMB_FIELD_TEXT,
     .flags = TMB_FIELD_REFERENCE | TMB_FIELD_NULLABLE,
     .minimum = 1,
     .summary = "A reference instead of a stored voice"},
    {.name = "ref_text",
     .kind = TMB_FIELD_TEXT,
     .flags = TMB_FIELD_NULLABLE,
     .maximum_setting = TEXT_MAX,
     .summary = "What the reference says"},
    {.name = "language",
     .kind = TMB_FIELD_CHOICE,
     .choices = languages,
     .fallback = "\"auto\"",
     .summary = "Of the text"},
    SAMPLING_FIELDS,
    {.name = "x_vector_only", .kind = TMB_FIELD_BOOLEAN, .fallback = "false", .summary = "Only the voice's colour"},
    {.name = "x_vector_only_mode", .kind = TMB_FIELD_BOOLEAN, .summary = "As x_vector_only"},
    {.name = "stream",
     .kind = TMB_FIELD_BOOLEAN,
     .fallback = "true",
     .summary = "false: the audio comes when it is complete, with true lengths in its head"},
    {0}};

/* ---- Answers ------------------------------------------------------------------------------------ */

#define JSON "application/json"
#define BAD                                                                                                            \
    { 400, JSON, "Problem", "Invalid input; detail names the field" }
#define NO_KEY                                                                                                         \
    {401, JSON, "Problem", "A key is needed"}, { 429, JSON, "Problem", "Too many requests with this key" }
#define TOO_LARGE                                                                                                      \
    { 413, JSON, "Problem", "The body is over its limit" }
#define WRONG_TYPE                                                                                                     \
    { 415, JSON, "Problem", "Another Content-Type is needed" }
#define BUSY                                                                                                           \
    { 503, JSON, "Problem", "The queue is full or the model is not available: try again after Retry-After" }
#define NO_SPACE                                                                                                       \
    { 507, JSON, "Problem", "The disk is full" }
#define BROKEN                                                                                                         \
    { 500, JSON, "Problem", "Internal error, with a request id" }
#define FORBIDDEN                                                                                                      \
    { 403, JSON, "Problem", "A page of another origin" }
#define MISSING                                                                                                        \
    { 404, JSON, "Problem", "There is no such thing" }
#define LATE                                                                                                           \
    { 504, JSON, "Problem", "The deadline passed" }

static const tmb_answer_doc clone_answers[] = {
    {200, JSON, "CloneResult", "The items in the order of the request; with stream the audio or events"},
    {200, "audio/wav", NULL, NULL},
    {200, "audio/flac", NULL, NULL},
    {200, "audio/mpeg", NULL, NULL},
    {200, "audio/ogg", NULL, NULL},
    {200, "audio/pcm", NULL, NULL},
    {200, "text/event-stream", NULL, NULL},
    BAD,
    NO_KEY,
    FORBIDDEN,
    TOO_LARGE,
    WRONG_TYPE,
    BROKEN,
    BUSY,
    LATE,
    NO_SPACE,
    {0}};
static const tmb_answer_doc upload_answers[] = {
    {201, JSON, "File", "The stored file"}, BAD, NO_KEY, FORBIDDEN, TOO_LARGE, WRONG_TYPE, BROKEN, BUSY, NO_SPACE, {0}};
static const tmb_answer_doc file_answers[] = {{200, "*/*", NULL, "The file"},
                                              {206, "*/*", NULL, "A part of it"},
                                              {304, NULL, NULL, "Not modified"},
                                              {416, NULL, NULL, "Outside of the file"},
                                              BAD,
                                              NO_KEY,
                                              FORBIDDEN,
                                              MISSING,
                                              BROKEN,
                                              {0}};
static const tmb_answer_doc delete_answers[] = {{204, NULL, NULL, "Gone"},
                                                BAD,
                                                NO_KEY,
                                                FORBIDDEN,
                                                MISSING,
                                                {409, JSON, "Problem", "A job still needs it"},
                                                BROKEN,
                                                {0}};
static const tmb_answer_doc enhance_answers[] = {{200, "audio/wav", NULL, "The clean file"},
                                                 {200, "audio/flac", NULL, NULL},
                                                 {200, "audio/mpeg", NULL, NULL},
                                                 {200, "audio/ogg", NULL, NULL},
                                                 {200, "audio/pcm", NULL, NULL},
                                                 BAD,
                                                 NO_KEY,
                                                 FORBIDDEN,
                                                 TOO_LARGE,
                                                 WRONG_TYPE,
                                                 BROKEN,
                                                 BUSY,
                                                 LATE,
                                                 NO_SPACE,
                                                 {0}};
static const tmb_answer_doc voices_answers[] = {
    {200, JSON, "Voices", "The stored voices"}, BAD, NO_KEY, FORBIDDEN, BROKEN, {0}};
static const tmb_answer_doc voice_answers[] = {
    {200, JSON, "Voice", "The voice"}, BAD, NO_KEY, FORBIDDEN, MISSING, BROKEN, {0}};
static const tmb_answer_doc voice_create_answers[] = {{201, JSON, "Voice", "The stored voice"},
                                                      BAD,
                                                      NO_KEY,
                                                      FORBIDDEN,
                                                      {409, JSON, "Problem", "The name is taken"},
                                                      TOO_LARGE,
                                                      WRONG_TYPE,
                                                      BROKEN,
                                                      BUSY,
                                                      NO_SPACE,
                                                      {0}};
static const tmb_answer_doc job_answers[] = {
    {200, JSON, "Job", "The job"}, BAD, NO_KEY, FORBIDDEN, MISSING, BROKEN, {0}};
static const tmb_answer_doc jobs_answers[] = {
    {200, JSON, "Jobs", "The newest 100 jobs"}, BAD, NO_KEY, FORBIDDEN, BROKEN, {0}};
static const tmb_answer_doc results_answers[] = {
    {200, JSON, "JobResults", "The job and its items, finished or not"}, BAD, NO_KEY, FORBIDDEN, MISSING, BROKEN, {0}};
static const tmb_answer_doc submit_answers[] = {
    {202, JSON, "Job", "The job is stored and will run, whatever happens to the server"},
    BAD,
    NO_KEY,
    FORBIDDEN,
    TOO_LARGE,
    WRONG_TYPE,
    BROKEN,
    BUSY,
    NO_SPACE,
    {0}};
static const tmb_answer_doc health_answers[] = {
    {200, JSON, "Health", "Good"}, BAD, FORBIDDEN, {503, JSON, "Problem", "Shutting down"}, {0}};
static const tmb_answer_doc metrics_answers[] = {
    {200, "text/plain", NULL, "Prometheus' text format"}, BAD, NO_KEY, FORBIDDEN, BROKEN, {0}};
static const tmb_answer_doc openapi_answers[] = {{200, JSON, "Anything", "This description"}, BAD, FORBIDDEN, {0}};

#undef BAD
#undef NO_KEY
#undef TOO_LARGE
#undef WRONG_TYPE
#undef BUSY
#undef NO_SPACE
#undef BROKEN
#undef FORBIDDEN
#undef MISSING
#undef LATE
#define BAD                                                                                                            \
    { 400, JSON, "OpenAIError", "Invalid input; param names the field" }
#define NO_KEY                                                                                                         \
    {401, JSON, "OpenAIError", "A key is needed"}, { 429, JSON, "OpenAIError", "Too many requests with this key" }
#define FORBIDDEN                                                                                                      \
    { 403, JSON, "OpenAIError", "A page of another origin" }
#define BROKEN                                                                                                         \
    { 500, JSON, "OpenAIError", "Internal error" }
#define LARGE_OR_TYPE                                                                                                  \
    {413, JSON, "OpenAIError", "The body is over its limit"}, {                                                        \
        415, JSON, "OpenAIError", "Another Content-Type is needed"                                                     \
    }
#define BUSY                                                                                                           \
    {503, JSON, "OpenAIError", "Try again after Retry-After"}, {504, JSON, "OpenAIError", "The deadline passed"}, {    \
        507, JSON, "OpenAIError", "The disk is full"                                                                   \
    }

static const tmb_answer_doc speech_answers[] = {{200, "audio/mpeg", NULL, "The audio, while it is made"},
                                                {200, "audio/ogg", NULL, NULL},
                                                {200, "audio/flac", NULL, NULL},
                                                {200, "audio/wav", NULL, NULL},
                                                {200, "audio/pcm", NULL, NULL},
                                                {200, "text/event-stream", NULL, NULL},
                                                BAD,
                                                NO_KEY,
                                                FORBIDDEN,
                                                LARGE_OR_TYPE,
                                                BROKEN,
                                                BUSY,
                                                {0}};
static const tmb_answer_doc models_answers[] = {
    {200, JSON, "OpenAIModels", "The models"}, BAD, NO_KEY, FORBIDDEN, BROKEN, {0}};
static const tmb_answer_doc openai_voices_answers[] = {
    {200, JSON, "OpenAIVoices", "The stored voices"}, BAD, NO_KEY, FORBIDDEN, BROKEN, {0}};
static const tmb_answer_doc openai_voice_answers[] = {{201, JSON, "OpenAIVoice", "The stored voice"},
                                                      BAD,
                                                      NO_KEY,
                                                      FORBIDDEN,
                                                      {409, JSON, "OpenAIError", "The name is taken"},
                                                      LARGE_OR_TYPE,
                                                      BROKEN,
                                                      BUSY,
                                                      {0}};
static const tmb_answer_doc openai_delete_answers[] = {{204, NULL, NULL, "Gone"},
                                                       BAD,
                                                       NO_KEY,
                                                       FORBIDDEN,
                                                       {404, JSON, "OpenAIError", "There is no such voice"},
                                                       BROKEN,
                                                       {0}};

/* ---- Routes ------------------------------------------------------------------------------------- */

#define API "/api/v1"

const tmb_route tmb_routes[] = {
    {TMB_POST, API "/voice-clone-enhanced", "clone", "voiceCloneEnhanced", "Clone a voice, clean in and clean out",
     TMB_BODY_JSON, clone_enhanced_fields, NULL, TMB_ROUTE_WORK, tmb_handle_voice_clone_enhanced, clone_answers},
    {TMB_POST, API "/voice-clone", "clone", "voiceClone", "Clone a voice without the cleaning stages", TMB_BODY_JSON,
     clone_fields, NULL, TMB_ROUTE_WORK, tmb_handle_voice_clone, clone_answers},
    {TMB_POST, API "/voice-clone-enhanced-file", "clone", "voiceCloneEnhancedFile",
     "The same from a form, for one item", TMB_BODY_FORM, clone_enhanced_form_fields, NULL, TMB_ROUTE_WORK,
     tmb_handle_voice_clone_enhanced, clone_answers},
    {TMB_POST, API "/voice-clone-file", "clone", "voiceCloneFile", "The same from a form, without the cleaning stages",
     TMB_BODY_FORM, clone_form_fields, NULL, TMB_ROUTE_WORK, tmb_handle_voice_clone, clone_answers},
    {TMB_POST, API "/enhance", "audio", "enhance", "Clean a recording", TMB_BODY_FILE, enhance_fields, enhance_query,
     TMB_ROUTE_WORK | TMB_ROUTE_SLOW, tmb_handle_enhance, enhance_answers},

    {TMB_POST, API "/files/upload", "files", "uploadFile", "Store an audio file for later requests", TMB_BODY_FILE,
     upload_fields, NULL, TMB_ROUTE_WORK, tmb_handle_file_upload, upload_answers},
    {TMB_GET, API "/files/{id}", "files", "getFile", "Get a file; ranges and ETag", TMB_BODY_NONE, NULL, NULL, 0,
     tmb_handle_file_get, file_answers},
    {TMB_DELETE, API "/files/{id}", "files", "deleteFile", "Remove a file", TMB_BODY_NONE, NULL, NULL, 0,
     tmb_handle_file_delete, delete_answers},

    {TMB_GET, API "/voices", "voices", "listVoices", "The stored voices", TMB_BODY_NONE, NULL, NULL, 0,
     tmb_handle_voices_list, voices_answers},
    {TMB_POST, API "/voices", "voices", "createVoice", "Store a voice", TMB_BODY_JSON_OR_FORM, voice_fields, NULL,
     TMB_ROUTE_WORK | TMB_ROUTE_SLOW, tmb_handle_voice_create, voice_create_answers},
    {TMB_GET, API "/voices/{name}", "voices", "getVoice", "One stored voice", TMB_BODY_NONE, NULL, NULL, 0,
     tmb_handle_voice_get, voice_answers},
    {TMB_GET, API "/voices/{name}/audio", "voices", "getVoiceAudio", "Its reference", TMB_BODY_NONE, NULL, NULL, 0,
     tmb_handle_voice_audio, file_answers},
    {TMB_DELETE, API "/voices/{name}", "voices", "deleteVoice", "Remove a voice", TMB_BODY_NONE, NULL, NULL, 0,
     tmb_handle_voice_delete, delete_answers},

    {TMB_GET, API "/queue", "queue", "listJobs", "The jobs, newest first", TMB_BODY_NONE, NULL, NULL, 0,
     tmb_handle_queue_list, jobs_answers},
    {TMB_POST, API "/queue/submit", "queue", "submitJob",
     "Store a job that runs whether or not anybody waits. A repeated Idempotency-Key finds the first job",
     TMB_BODY_JSON, queue_fields, NULL, TMB_ROUTE_WORK, tmb_handle_queue_submit, submit_answers},
    {TMB_GET, API "/queue/status/{id}", "queue", "getJob", "How far a job is", TMB_BODY_NONE, NULL, NULL, 0,
     tmb_handle_queue_status, job_answers},
    {TMB_GET, API "/queue/results/{id}", "queue", "getJobResults", "What a job has made so far", TMB_BODY_NONE, NULL,
     results_query, 0, tmb_handle_queue_results, results_answers},
    {TMB_DELETE, API "/queue/{id}", "queue", "deleteJob", "Cancel a job and remove it with its results", TMB_BODY_NONE,
     NULL, NULL, 0, tmb_handle_queue_delete, delete_answers},

    {TMB_POST, "/v1/audio/speech", "openai", "createSpeech", "Speech, as OpenAI's API", TMB_BODY_JSON, speech_fields,
     NULL, TMB_ROUTE_WORK | TMB_ROUTE_OPENAI, tmb_handle_speech, speech_answers},
    {TMB_GET, "/v1/models", "openai", "listModels", "The models", TMB_BODY_NONE, NULL, NULL, TMB_ROUTE_OPENAI,
     tmb_handle_models, models_answers},
    {TMB_GET, "/v1/audio/voices", "openai", "listOpenAIVoices", "The stored voices", TMB_BODY_NONE, NULL, NULL,
     TMB_ROUTE_OPENAI, tmb_handle_openai_voices, openai_voices_answers},
    {TMB_POST, "/v1/audio/voices", "openai", "createOpenAIVoice", "Store a voice", TMB_BODY_FORM, openai_voice_fields,
     NULL, TMB_ROUTE_WORK | TMB_ROUTE_OPENAI | TMB_ROUTE_SLOW, tmb_handle_openai_voice_create, openai_voice_answers},
    {TMB_DELETE, "/v1/audio/voices/{name}", "openai", "deleteOpenAIVoice", "Remove a voice", TMB_BODY_NONE, NULL, NULL,
     TMB_ROUTE_OPENAI, tmb_handle_voice_delete, openai_delete_answers},

    {TMB_GET, "/health/live", "service", "live", "Whether the process runs", TMB_BODY_NONE, NULL, NULL,
     TMB_ROUTE_OPEN | TMB_ROUTE_INLINE | TMB_ROUTE_UNLIMITED, tmb_handle_live, health_answers},
    {TMB_GET, "/health/ready", "service", "ready", "Whether new work is accepted", TMB_BODY_NONE, NULL, NULL,
     TMB_ROUTE_OPEN | TMB_ROUTE_INLINE | TMB_ROUTE_UNLIMITED, tmb_handle_ready, health_answers},
    {TMB_GET, "/health", "service", NULL, NULL, TMB_BODY_NONE, NULL, NULL,
     TMB_ROUTE_OPEN | TMB_ROUTE_INLINE | TMB_ROUTE_UNLIMITED | TMB_ROUTE_HIDDEN, tmb_handle_live, NULL},
    {TMB_GET, "/ready", "service", NULL, NULL, TMB_BODY_NONE, NULL, NULL,
     TMB_ROUTE_OPEN | TMB_ROUTE_INLINE | TMB_ROUTE_UNLIMITED | TMB_ROUTE_HIDDEN, tmb_handle_ready, NULL},
    {TMB_GET, "/metrics", "service", "metrics", "Counters and histograms", TMB_BODY_NONE, NULL, NULL,
     TMB_ROUTE_UNLIMITED, tmb_handle_metrics, metrics_answers},
    {TMB_GET, "/openapi.json", "service", "openapi", "This description", TMB_BODY_NONE, NULL, NULL,
     TMB_ROUTE_OPEN | TMB_ROUTE_INLINE | TMB_ROUTE_UNLIMITED, tmb_handle_openapi, openapi_answers},

#define ASSET(path)                                                                                                    \
    {                                                                                                                  \
        TMB_GET, path, "page", NULL, NULL, TMB_BODY_NONE, NULL, NULL,                                                  \
            TMB_ROUTE_OPEN | TMB_ROUTE_INLINE | TMB_ROUTE_UNLIMITED | TMB_ROUTE_HIDDEN, tmb_handle_asset, NULL         \
    }
    ASSET("/"),
    ASSET("/style.css"),
    ASSET("/app.js"),
    ASSET("/audio.js"),
    ASSET("/icon.svg"),
    ASSET("/docs"),
    ASSET("/docs.js"),
    {0},
};
