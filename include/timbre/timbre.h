/* timbre: voice cloning with studio-clean sound.
 *
 * The only header that a user of libtimbre needs. Conventions:
 *   - samples are 32-bit floats, full scale [-1, 1]; rates are in Hz, lengths in samples per channel
 *     ("frames" of audio are never meant by `frames` unless said so), times in seconds;
 *   - every function that can fail returns a tmb_status and, if `error` is not NULL, fills it with
 *     a message that names what was wrong and what to do;
 *   - `x_create` / `x_open` hand ownership to the caller, `x_destroy` / `x_close` take the address of
 *     the handle, free it and set it to NULL; calling them on NULL is allowed;
 *   - pointers to const are borrowed for the call only, unless the comment says longer;
 *   - option structs are filled by their `_default` function first; then the caller changes fields.
 */
#ifndef TIMBRE_TIMBRE_H
#define TIMBRE_TIMBRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define TMB_API __attribute__((visibility("default")))
#define TMB_PRINTF(format_index, first_index) __attribute__((format(printf, format_index, first_index)))
#else
#define TMB_API
#define TMB_PRINTF(format_index, first_index)
#endif

/* What a call came to. The numbers are stable. */
typedef enum tmb_status {
    TMB_OK = 0,
    TMB_ERROR_ARGUMENT = 1,    /* the caller passed something that no call of this kind accepts */
    TMB_ERROR_MEMORY = 2,      /* the system or the memory budget has no room */
    TMB_ERROR_IO = 3,          /* a file or pipe could not be read or written */
    TMB_ERROR_FORMAT = 4,      /* the bytes are not what they should be (audio, model, JSON) */
    TMB_ERROR_MODEL = 5,       /* a model is missing or does not fit */
    TMB_ERROR_UNSUPPORTED = 6, /* legal, but this build or machine cannot do it */
    TMB_ERROR_LIMIT = 7,       /* over a limit: length, size, count, queue */
    TMB_ERROR_CANCELLED = 8,   /* the caller cancelled */
    TMB_ERROR_TIMEOUT = 9,     /* a time limit passed */
    TMB_ERROR_INTERNAL = 10    /* a bug in timbre */
} tmb_status;

/* Why a call failed. A zeroed one means success. Programs decide by `status`, `system` and `field`; the message is for
 * people and may be worded anew in any version. */
typedef struct tmb_error {
    tmb_status status;
    int system;        /* errno of the system call that failed, or 0 */
    const char *field; /* the request's field that is to blame, by its name in tmb_clone_request ("ref_audio"), in
                          static storage; or NULL */
    size_t name_bytes; /* when the message begins with the file's name: bytes of "NAME: "; the reason alone is
                          message + name_bytes */
    char message[504]; /* UTF-8, one line, never empty on failure */
} tmb_error;

/* A status as a short English word, never NULL ("ok", "argument", ...). */
TMB_API const char *tmb_status_name(tmb_status status);

/* The library's version, "MAJOR.MINOR.PATCH". */
TMB_API const char *tmb_version(void);

typedef enum tmb_log_level {
    TMB_LOG_ERROR = 0,
    TMB_LOG_WARNING = 1,
    TMB_LOG_INFO = 2,
    TMB_LOG_DEBUG = 3
} tmb_log_level;

/* Called with one line without line break. May be called from any thread, never concurrently with
 * itself for one context. `user` is the pointer given with the callback. */
typedef void (*tmb_log_callback)(void *user, tmb_log_level level, const char *line);

/* ---- Context ------------------------------------------------------------------------------- */

/* Models, workers and the memory budget of a process. Any thread may use a context. */
typedef struct tmb_context tmb_context;

/* One of several models of a context. */
typedef struct tmb_model_spec {
    const char *name;  /* by which requests mean it; NULL: its own (tmb_model_description.name) */
    const char *model; /* as tmb_options.model; NULL = the smallest that clones voices and is installed */
} tmb_model_spec;

/* Reads "MODEL" or "NAME=MODEL" as commands take them: *name is allocated (tmb_free) or NULL, *model points into
 * `text`. A text that names something on the disk is a model alone, also with "=" in it. TMB_ERROR_ARGUMENT for an
 * empty half. */
TMB_API tmb_status tmb_model_spec_parse(const char *text, char **name, const char **model, tmb_error *error);

typedef struct tmb_options {
    size_t struct_size;         /* set by tmb_options_default */
    const char *engine;         /* "auto" (default: qwen3 if its model is found, otherwise preview),
                                   "preview", "qwen3", "remote" */
    const char *model;          /* folder of a Qwen3-TTS checkpoint, or a name of tmb_models as "0.6b" (looked up in the
                                   Hugging Face cache); NULL = the smallest that clones voices and is installed */
    const char *precision;      /* "auto" (default), "f32", "bf16", "int8", "int4", or per network
                                   "talker=int8,predictor=int4,codec=bf16" */
    const char *denoiser;       /* DeepFilterNet3 archive; NULL = looked up */
    const char *remote_url;     /* engine "remote": base URL of an OpenAI-style speech server, or several with commas or
                                   white space between them; one may end in #limit=N, requests at once */
    const char *remote_key;     /* their key, or NULL */
    int threads;                /* of one model step; 0 = the CPUs of this process */
    int resample_workers;       /* stages 1 and 4; default 3 */
    int enhance_workers;        /* stages 2 and 5; default 3 */
    int max_batch;              /* live sequences in stage 3; 0 = the engine's default */
    double max_batch_wait;      /* seconds that an empty batch waits for company; default 0 */
    uint64_t memory_budget;     /* bytes for models and sequences; 0 = three quarters of the machine's
                                   or cgroup's memory */
    double idle_unload;         /* seconds after which an idle model is dropped; 0 = never (default) */
    double max_input_seconds;   /* of decoded audio per input; default 1800 */
    uint64_t max_input_bytes;   /* of decoded samples per reference; default 256 MiB */
    bool no_ffmpeg;             /* references that only ffmpeg can decode are refused, also if it is installed */
    size_t max_queued;          /* items that may wait; default 1024; more: TMB_ERROR_LIMIT */
    size_t voice_cache_entries; /* prepared voices kept; default 64 */
    tmb_log_callback log;       /* NULL = silent */
    void *log_user;
    tmb_log_level log_level;      /* default TMB_LOG_WARNING */
    bool no_preview;              /* without a model "auto" is TMB_ERROR_MODEL, never the preview voice */
    const tmb_model_spec *models; /* [model_count] several models instead of `model`: each loads when it is first
                                     needed, and gives its memory to another when the budget does not hold both */
    size_t model_count;
    bool overflow; /* what the engine's batch has no place for goes to the servers of remote_url, if they have one for
                      it; what they fail before its first audio comes back */
    double remote_hedge; /* seconds without audio after which a second server of remote_url is asked too, and the first
                            audio decides; 0 = never (default) */
    const char *transcribe_url;   /* speech-to-text service with OpenAI's /v1/audio/transcriptions, which writes the
                                     transcripts that clone requests leave out; NULL = none */
    const char *transcribe_key;   /* its key, or NULL */
    const char *transcribe_model; /* the name of its model; NULL = "whisper-1" */
    const char *device;  /* what computes Qwen3-TTS: "cpu", "cuda" or "cuda:N" (an NVIDIA GPU), "auto" (the first GPU if
                            it can do it, otherwise the CPU); NULL = $TIMBRE_DEVICE, or "cpu" */
    uint64_t gpu_memory; /* bytes of the GPU for models and sequences; at most, and by default, nine tenths of what is
                            free when a model is loaded while none is there */
} tmb_options;

TMB_API void tmb_options_default(tmb_options *options);

/* Opens a context. Nothing is loaded yet: each model loads when it is first needed, once. The strings
 * are copied. TMB_ERROR_ARGUMENT for an unknown engine or precision, TMB_ERROR_MEMORY. */
TMB_API tmb_status tmb_open(const tmb_options *options, tmb_context **out, tmb_error *error);

/* Cancels what runs, waits for its callbacks, frees. No other call may be under way. */
TMB_API void tmb_close(tmb_context **context);

/* What the context holds and does, for monitoring. */
typedef struct tmb_statistics {
    uint64_t memory_budget;   /* bytes */
    uint64_t memory_reserved; /* bytes: models and sequences */
    size_t queued_items;      /* submitted, stage 3 not yet entered */
    size_t live_sequences;    /* in the TTS batch now */
    uint64_t finished_items, failed_items, cancelled_items;
    uint64_t batch_steps;     /* steps of the TTS batch so far */
    uint64_t batch_sequences; /* sum of the live sequences over those steps */
    double audio_seconds;     /* produced by stage 3 so far */
    const char *engine;       /* the one in use, static storage */
    bool engine_loaded, denoiser_loaded;
    bool is_clone;                   /* false: that engine speaks with a preview voice */
    const char *device;              /* what computes the speech: "cpu", "cuda"; NULL: no engine is loaded, or it is
                                        something else */
    uint64_t device_memory_budget;   /* bytes; 0: no GPU is used, or none yet */
    uint64_t device_memory_reserved; /* bytes: models and sequences */
    uint64_t device_losses;          /* how often a GPU was lost with everything on it, in this process */
} tmb_statistics;
TMB_API void tmb_get_statistics(tmb_context *context, tmb_statistics *out);

/* What GPU number `index` is, in one line for people: name, architecture, memory, driver. TMB_ERROR_UNSUPPORTED says
 * why it cannot be used: the driver is asked for all that a model needs of it, the kernels too, which may take it some
 * seconds the first time. TMB_ERROR_MEMORY: it has not even room for that now. Needs no context; any thread. */
TMB_API tmb_status tmb_describe_gpu(int index, char *text, size_t size, tmb_error *error);

/* What tmb_each_model_statistics tells of one model. */
typedef struct tmb_model_statistics {
    const char *name; /* valid as long as the context; "" while its files are missing */
    bool loaded;
    uint64_t loads;           /* how often it was loaded */
    uint64_t memory_reserved; /* bytes */
    size_t queued_items;      /* that wait for it */
    size_t live_sequences;
    uint64_t finished_items;
} tmb_model_statistics;
/* Calls back for each model; what it gets is valid during the call. */
TMB_API void tmb_each_model_statistics(tmb_context *context,
                                       void (*each)(void *user, const tmb_model_statistics *statistics), void *user);

/* What is told of one speech server of remote_url. */
typedef struct tmb_server_statistics {
    const char *url;    /* as it was given, without user, password and limit */
    const char *state;  /* "untried"; "up"; "busy": it said so, and is asked again later; "down": it failed three times
                           in  a row, and is left alone until a check of its health succeeds; "half-open": it is being
                           tried  again */
    size_t limit;       /* requests at once, 0 = none is set */
    size_t outstanding; /* requests now */
    uint64_t requests;  /* that were sent to it */
    uint64_t failed;    /* of those: no answer, no speech, an error that is its own */
    uint64_t busy;      /* of those: it was busy (429, 503) */
    uint64_t opened;    /* how often it was found to be down */
    double wait;        /* seconds until it may be asked again, because it was busy or down; 0 = now */
} tmb_server_statistics;
/* Calls back for each of them, in the order of remote_url; what it gets is valid during the call, which must not call
 * the library. Thread-safe. */
TMB_API void tmb_each_server_statistics(tmb_context *context,
                                        void (*each)(void *user, const tmb_server_statistics *statistics), void *user);

enum { TMB_NEED_ENGINE = 1, TMB_NEED_DENOISER = 2 };

/* What a context's work comes to with the models that are installed at the moment. */
typedef struct tmb_resolution {
    const char *engine; /* "preview", "qwen3", "remote": static storage; NULL without TMB_NEED_ENGINE */
    bool is_clone;      /* false: the preview voice speaks, not the reference's */
} tmb_resolution;

/* Looks for what `needs` names (TMB_NEED_..., added up): the engine's model or program, the denoiser's archive. Loads
 * nothing. The engine that it finds is this context's from then on, whatever models come or go. TMB_ERROR_MODEL says
 * what is missing and how to get it. `out` may be NULL. */
TMB_API tmb_status tmb_resolve(tmb_context *context, unsigned needs, tmb_resolution *out, tmb_error *error);

/* What a model can do; valid during the call that hands it over. */
typedef struct tmb_model_description {
    const char *name;                    /* by which requests mean it */
    const char *engine;                  /* "preview", "qwen3", "remote" */
    const char *kind;                    /* "base", "custom_voice", "voice_design"; of other engines their name */
    const char *folder;                  /* its files, or NULL */
    const char *size;                    /* "0b6", "1b7", or "" */
    bool clones;                         /* speaks with the voice of a recording, or of a saved voice */
    bool designs;                        /* makes a voice from `instruct` */
    bool follows_instruct;               /* takes a style with its speakers; the 0.6B does not */
    const char *const *speakers;         /* [speaker_count] built-in voices, as the model spells them */
    const char *const *speaker_dialects; /* [speaker_count] the dialect that one speaks for auto and Chinese, or "" */
    size_t speaker_count;
    const char *const *languages; /* [language_count] as the model spells them ("english"), without dialects */
    size_t language_count;
    const char *const *dialects; /* [dialect_count] that speakers of the model may speak */
    size_t dialect_count;
} tmb_model_description;

/* Calls back for each of the context's models; what it gets is valid as long as the context. Loads nothing.
 * TMB_ERROR_MODEL for one whose files are missing or damaged; those before it were handed over. */
TMB_API tmb_status tmb_describe_models(tmb_context *context,
                                       void (*each)(void *user, const tmb_model_description *model), void *user,
                                       tmb_error *error);
/* The same for a Qwen3-TTS checkpoint: a folder or a name, as tmb_options.model. Thread-safe. */
TMB_API tmb_status tmb_describe_model(const char *model, void (*each)(void *user, const tmb_model_description *model),
                                      void *user, tmb_error *error);

/* Bytes that a Qwen3-TTS checkpoint takes in memory at a precision (as tmb_options.precision), without sequences. Loads
 * nothing. Thread-safe. */
TMB_API tmb_status tmb_model_bytes(const char *model, const char *precision, uint64_t *bytes, tmb_error *error);

/* Whether the engine speaks `language` ("auto", NULL and "" always): TMB_ERROR_ARGUMENT lists what it speaks. */
TMB_API tmb_status tmb_check_language(tmb_context *context, const char *language, tmb_error *error);

/* Loads the denoiser and the engine now instead of at first use. */
TMB_API tmb_status tmb_preload(tmb_context *context, tmb_error *error);

/* ---- Audio files --------------------------------------------------------------------------- */

typedef enum tmb_encoding { TMB_ENCODING_S16 = 0, TMB_ENCODING_S24, TMB_ENCODING_FLOAT } tmb_encoding;

typedef enum tmb_container {
    TMB_CONTAINER_AUTO = 0, /* from the file name's ending; WAV for "-" */
    TMB_CONTAINER_WAV,
    TMB_CONTAINER_FLAC,
    TMB_CONTAINER_OGG, /* Vorbis */
    TMB_CONTAINER_OPUS,
    TMB_CONTAINER_MP3,
    TMB_CONTAINER_RAW,
    TMB_CONTAINER_AAC /* ADTS; through an installed ffmpeg, TMB_ERROR_UNSUPPORTED without */
} tmb_container;

/* What is in an audio file. */
typedef struct tmb_audio_info {
    int rate; /* Hz */
    int channels;
    uint64_t length;       /* samples per channel as the header says; a hint, 0 = unknown */
    char format[48];       /* "WAV, 16-bit PCM" */
    uint32_t channel_mask; /* loudspeakers of the channels as in WAVE_FORMAT_EXTENSIBLE; 0 = not said */
} tmb_audio_info;

/* How a file is read: limits on what is decoded, against decompression bombs, which hold while decoding; what becomes
 * of a damaged file; who decodes what timbre does not. */
typedef struct tmb_audio_limits {
    double max_seconds; /* <= 0 = none */
    uint64_t max_bytes; /* of decoded float samples, all channels; 0 = none */
    bool salvage;       /* read a damaged or cut file as far as it goes, with a warning, instead of refusing it */
    bool no_ffmpeg;     /* never start the program ffmpeg, also if it is installed */
} tmb_audio_limits;

/* Headerless PCM. */
typedef struct tmb_raw_format {
    int rate, channels;
    tmb_encoding encoding; /* little-endian */
} tmb_raw_format;

/* Reads one file front to back; used by one thread at a time. */
typedef struct tmb_audio_reader tmb_audio_reader;

/* `path` "-" is standard input. `raw` NULL: the format is read from the file. `limits` NULL: 1800 s.
 * Reads WAV, RF64, BW64, Wave64, AIFF, CAF and AU with PCM, float, A-law, u-law or (WAV) MP3; FLAC; Ogg Vorbis and
 * Opus; MP3; and through an installed ffmpeg MP4, M4A, 3GP, WebM, Matroska, AAC, AMR, WMA and others. Refuses, each
 * with one clear error: empty, not audio, less than its head promises (unless limits->salvage), rates outside 4000 to
 * 192000 Hz, more than 8 channels, other encodings. */
TMB_API tmb_status tmb_audio_open(const char *path, const tmb_raw_format *raw, const tmb_audio_limits *limits,
                                  tmb_audio_reader **out, tmb_audio_info *info, tmb_error *error);
/* The same from memory; `data` is borrowed until close. */
TMB_API tmb_status tmb_audio_open_memory(const void *data, size_t size, const tmb_audio_limits *limits,
                                         tmb_audio_reader **out, tmb_audio_info *info, tmb_error *error);
/* Up to `capacity` samples per channel, interleaved, into `out` [capacity, channels]; *count = 0 is
 * the end. NaN or infinity: TMB_ERROR_FORMAT with its position. Over a limit: TMB_ERROR_LIMIT. */
TMB_API tmb_status tmb_audio_read(tmb_audio_reader *reader, float *out, size_t capacity, size_t *count,
                                  tmb_error *error);
TMB_API void tmb_audio_close(tmb_audio_reader **reader);

/* What is to be said of a file that can be read: what was left out, what is missing when salvaging. Warnings may be
 * added by every read; each is one line of UTF-8 that goes on from the file's name ("is ...", "has ..."), borrowed
 * until close. NULL beyond the last. */
TMB_API size_t tmb_audio_warning_count(const tmb_audio_reader *reader);
TMB_API const char *tmb_audio_warning(const tmb_audio_reader *reader, size_t index);

/* Writes one file front to back; used by one thread at a time. */
typedef struct tmb_audio_writer tmb_audio_writer;

/* `path` "-" streams to standard output. A file is written beside its final name under a temporary
 * one and renamed by finish; abort (or a failure) leaves nothing. Integer encodings clip. */
TMB_API tmb_status tmb_audio_create(const char *path, tmb_container container, tmb_encoding encoding, int rate,
                                    int channels, tmb_audio_writer **out, tmb_error *error);
/* The same for what was made of a recording: what `like` (NULL: nothing) says of itself goes into the new file, as far
 * as that has a place. Title, artist, album, date, genre, track, comment and copyright into WAV, FLAC, Ogg Vorbis, Opus
 * and MP3; time reference (bext), cue points and the channels' loudspeakers into WAV, places scaled to its rate. */
TMB_API tmb_status tmb_audio_create_like(const tmb_audio_reader *like, const char *path, tmb_container container,
                                         tmb_encoding encoding, int rate, int channels, tmb_audio_writer **out,
                                         tmb_error *error);
/* `count` samples per channel, interleaved. */
TMB_API tmb_status tmb_audio_write(tmb_audio_writer *writer, const float *samples, size_t count, tmb_error *error);
/* Samples so far (of all channels) that were beyond full scale, which the encoding has not: they were clipped. Floats
 * have no such limit. */
TMB_API uint64_t tmb_audio_clipped(const tmb_audio_writer *writer);
/* Makes `count` samples per channel what the file has of them: limited to full scale, if the encoding has no more. */
TMB_API void tmb_audio_clip(const tmb_audio_writer *writer, float *samples, size_t count);
/* Completes the file and frees the writer; on failure nothing is left and the writer is freed too. */
TMB_API tmb_status tmb_audio_finish(tmb_audio_writer **writer, tmb_error *error);
TMB_API void tmb_audio_abort(tmb_audio_writer **writer);
/* Removes the temporary files of all open writers; async-signal-safe, for signal handlers. */
TMB_API void tmb_audio_remove_temporary_files(void);

/* ---- Resampling ---------------------------------------------------------------------------- */

typedef enum tmb_resampler_kind {
    TMB_RESAMPLER_AUTO = 0, /* soxr, and the next of the cascade if one cannot be created or fails */
    TMB_RESAMPLER_SOXR,
    TMB_RESAMPLER_POLYPHASE, /* as scipy.signal.resample_poly */
    TMB_RESAMPLER_SINC       /* as torchaudio.functional.resample */
} tmb_resampler_kind;

/* One channel as a stream; used by one thread at a time. The output does not depend on how the input
 * was cut. Equal rates pass through bit for bit. */
typedef struct tmb_resample_stream tmb_resample_stream;
TMB_API tmb_status tmb_resample_open(tmb_context *context, int input_rate, int output_rate, tmb_resampler_kind kind,
                                     tmb_resample_stream **out, tmb_error *error);
TMB_API tmb_status tmb_resample_push(tmb_resample_stream *stream, const float *samples, size_t count, tmb_error *error);
/* The input is complete. */
TMB_API tmb_status tmb_resample_flush(tmb_resample_stream *stream, tmb_error *error);
/* Up to `capacity` ready samples; returns how many. */
TMB_API size_t tmb_resample_pull(tmb_resample_stream *stream, float *out, size_t capacity);
/* "soxr", "polyphase", "sinc", or "none" at equal rates. */
TMB_API const char *tmb_resample_name(const tmb_resample_stream *stream);
TMB_API void tmb_resample_close(tmb_resample_stream **stream);

/* ---- Enhancement (DeepFilterNet3) ----------------------------------------------------------- */

/* The denoiser takes speech that is much too quiet for noise, and removes it. */
typedef enum tmb_level_mode {
    TMB_LEVEL_AUTO = 0, /* it listens with a gain if the speech is below -40 or above -6 dB of full scale (mean of
                           the active frames), so that what it keeps does not depend on the recording's level. The sound
                           itself is never scaled. Within that range not a sample changes */
    TMB_LEVEL_OFF       /* it hears the recording as it is */
} tmb_level_mode;

/* How loud the speech in a recording is, measured over all of it before it is enhanced; used by one thread at a time.
 */
typedef struct tmb_level tmb_level;
TMB_API tmb_status tmb_level_create(int rate, int channels, tmb_level **out, tmb_error *error);
/* `count` samples per channel, interleaved and finite; how they are cut does not matter. */
TMB_API tmb_status tmb_level_push(tmb_level *level, const float *samples, size_t count, tmb_error *error);
/* In dB of full scale: what stands out of the noise; NAN if nothing does. */
TMB_API double tmb_level_decibel(const tmb_level *level);
TMB_API void tmb_level_destroy(tmb_level **level);

typedef struct tmb_enhance_options {
    float attenuation_limit_db; /* no bin is lowered by more; 100 (default) is no limit, 0 a bypass */
    float post_filter_beta;     /* 0 is off (default), 0.02 the official strength */
    int input_rate;             /* Hz; default 48000; other rates are resampled first */
    int output_rate;            /* Hz; default 48000 */
    int channels;               /* default 1; each channel is enhanced by itself */
    bool low_latency;           /* evaluate frame by frame (10 ms) instead of in blocks of 0.48 s */
    bool compensate_delay;      /* default true: aligned with the input and as long */
    tmb_resampler_kind resampler;
    tmb_level_mode level;      /* default auto */
    const tmb_level *measured; /* with auto: of the same recording, all of it (input_rate, channels); borrowed until the
                                  stream is closed. NULL (default): the stream follows what has come so far: in blocks
                                  it is half a second later for that, and with low_latency it hears the first quarter of
                                  a second of quiet speech too softly */
} tmb_enhance_options;
TMB_API void tmb_enhance_options_default(tmb_enhance_options *options);

/* A stream through resampling and denoising; used by one thread at a time, many at once share the
 * weights. */
typedef struct tmb_enhance_stream tmb_enhance_stream;
/* Loads the denoiser if this is its first use: TMB_ERROR_MODEL if it is missing. */
TMB_API tmb_status tmb_enhance_open(tmb_context *context, const tmb_enhance_options *options, tmb_enhance_stream **out,
                                    tmb_error *error);
/* `count` samples per channel, interleaved. */
TMB_API tmb_status tmb_enhance_push(tmb_enhance_stream *stream, const float *samples, size_t count, tmb_error *error);
TMB_API tmb_status tmb_enhance_flush(tmb_enhance_stream *stream, tmb_error *error);
/* Up to `capacity` ready samples per channel, interleaved; returns how many. */
TMB_API size_t tmb_enhance_pull(tmb_enhance_stream *stream, float *out, size_t capacity);
/* Local SNR in dB that the model saw in its last frame (first channel). */
TMB_API float tmb_enhance_local_snr(const tmb_enhance_stream *stream);
TMB_API void tmb_enhance_close(tmb_enhance_stream **stream);

/* A whole buffer at once, its level measured first: interleaved in, *out allocated (free it with tmb_free), *out_count
 * per channel. */
TMB_API tmb_status tmb_enhance_buffer(tmb_context *context, const tmb_enhance_options *options, const float *samples,
                                      size_t count, float **out, size_t *out_count, tmb_error *error);
TMB_API void tmb_free(void *pointer);

/* ---- Cloning ------------------------------------------------------------------------------- */

/* Whose voice a request asks for, beyond what its fields say. */
typedef enum tmb_who {
    TMB_WHO_AUTO = 0,   /* a reference's; without one, as speaker and instruct say, of which one is set */
    TMB_WHO_OWN,        /* one of the model's own: a model with a single speaker needs no name */
    TMB_WHO_SPEAKER,    /* a built-in speaker: models without speakers refuse */
    TMB_WHO_DESCRIPTION /* a voice made from `instruct`: models that do not design voices refuse */
} tmb_who;

/* Where a reference or voice comes from: exactly one of the groups is set, or `voice` and `ref_audio`: then the saved
 * voice was made from the reference, and if it cannot be used (it is damaged, of another version or model, or cannot
 * be read) the reference is, and the result says so. */
typedef struct tmb_clone_request {
    size_t struct_size;    /* set by tmb_clone_request_default */
    const char *custom_id; /* client-chosen id, echoed in the result; may be NULL */
    const char *text;      /* what to say, UTF-8 */
    const char *language;  /* "auto" (default), a code or tag ("en", "pt-BR"), an English name, or a model's own name */

    const char *ref_audio; /* reference: a file ... */
    const void *ref_data;  /* ... or an audio file's bytes (borrowed until the result) ... */
    size_t ref_data_size;
    const float *ref_samples; /* ... or mono samples (borrowed until the result) */
    size_t ref_sample_count;
    int ref_rate;         /* Hz of ref_samples */
    const char *ref_text; /* its transcript; NULL: what tmb_options.transcribe_url writes, x-vector only without one */
    const char *voice;    /* or a saved voice's file */
    bool x_vector_only;

    /* Without any of these one of the model's own voices speaks: set `speaker` or `instruct`, or `who`. */
    const char *speaker;  /* a built-in speaker, in any case; NULL: the model's only one; "": none, as officially */
    const char *instruct; /* a style for it, or the description of a voice; "": none */
    const char *model;    /* one of several models, by name; NULL or "": the first that can do what is asked */

    bool greedy;
    double temperature, top_p, repetition_penalty; /* < 0 (default): the model's; temperature 0: as greedy */
    int top_k;                                     /* < 0 (default): the model's; 0: no limit */
    double subtalker_temperature, subtalker_top_p; /* the code predictor's own; < 0: the model's */
    int subtalker_top_k;
    bool has_seed; /* false: a random one, reported in the result */
    uint64_t seed;
    int max_frames;          /* as the official max_new_tokens: at most one less; 0 = the model's */
    double max_seconds;      /* 0 = no further limit */
    bool non_streaming_text; /* the whole text before the speech; the default for speakers and descriptions */
    bool streaming_text;     /* the text in time with the speech; the default for clones */
    bool guard_runaway;      /* budget from the text's length, one retry, then cut */

    bool run_pre_processing;       /* stages 1 and 2; default true */
    bool run_post_processing;      /* stages 4 and 5; default true; false gives the engine's own rate */
    tmb_enhance_options pre, post; /* strength of stages 2 and 5; rates and channels are ignored. By default no limit
                                      for the reference, 12 dB for the speech, which is clean already */

    int priority;      /* higher first; default 0 */
    uint64_t group;    /* items of one group take turns with other groups; default 0. A group other
                        * than 0 leaves the last eighth of the batch to groups with nothing in it */
    double deadline;   /* seconds from submit until TMB_ERROR_TIMEOUT; 0 = none */
    bool want_codes;   /* hand the generated codes to the result */
    bool want_samples; /* collect the whole audio for the result; default true */

    /* The engine qwen3; others ignore it. */
    bool stream;            /* the audio callback's listener hears it while it is made: a runaway is then cut but not
                               tried again. Without it and with guard_runaway, audio comes when a piece is complete */
    int first_chunk_frames; /* frames (80 ms each) in the first audio; 0 = default (4), at most 16 */
    size_t split_length; /* a longer text, in letters (a character of Chinese, Japanese or Korean is three), is spoken
                            in pieces that end at sentences if they can; the result lists them; 0 = never */
    bool pauses;         /* understand [pause:1.5s], [pause:500ms] in the text: silence */

    /* The reference, before the engine's encoders. */
    bool trim_reference;      /* trim silence before the first and after the last speech, but for 50 ms */
    double reference_silence; /* seconds of silence behind it, 0 to 5: keeps its last words out of the speech */
    bool salvage; /* read a damaged or cut recording as far as it goes, with a warning, instead of refusing it */

    tmb_who who;

    /* As the official package has them; false: the likeliest at each step, whatever the temperature says. Default true.
     */
    bool do_sample, subtalker_dosample; /* of the language model; of the code predictor */
} tmb_clone_request;
TMB_API void tmb_clone_request_default(tmb_clone_request *request);

/* The model that a request would go to, valid as long as the context. Loads nothing. Errors as tmb_clone_submit;
 * whether that model can do what is asked is seen when it is asked. Thread-safe. */
TMB_API tmb_status tmb_clone_model(tmb_context *context, const tmb_clone_request *request,
                                   const tmb_model_description **out, tmb_error *error);

/* What was measured of a reference, before and after stage 2, and what to do about it. */
typedef struct tmb_reference_info {
    bool usable;               /* there is speech in it */
    bool cleaned;              /* stage 2 ran: noise_clean and level_clean are known, otherwise NAN */
    double duration, speech;   /* seconds: of the recording; in which somebody speaks */
    double peak;               /* dB of full scale, as the rest; -INFINITY for silence */
    double level, level_clean; /* of the speech */
    double noise, noise_clean; /* of everything between it */
    uint64_t clipped;          /* samples that stand still at full scale */
    size_t warning_count;
    char warnings[8][192]; /* one sentence each: what is wrong and what to do, what of its file was left out or is
                              missing. None: the reference is good */
    char transcript[2048]; /* what the transcription service wrote, if the request left ref_text out; otherwise "" */
} tmb_reference_info;

/* The same as JSON text, with the names of the results (tmb_free): verdict ("good", "doubtful", "unusable"), duration,
 * speech, level, peak, clipped, noise, noise_clean, snr, snr_clean, transcript, warnings. NULL: no memory. */
TMB_API char *tmb_reference_to_json(const tmb_reference_info *info);

/* Measures a recording as a reference: stages 1 and 2 and the judgement, without an engine. `ref_text` may be NULL.
 * TMB_ERROR_FORMAT also if there is no speech in it; `out` is filled then too. */
TMB_API tmb_status tmb_reference_measure(tmb_context *context, const char *path, const char *ref_text,
                                         tmb_reference_info *out, tmb_error *error);

/* What is said in a recording, after stages 1 and 2, by the service of tmb_options.transcribe_url: *text is allocated
 * (tmb_free), one line of UTF-8. TMB_ERROR_UNSUPPORTED: no service is set. TMB_ERROR_FORMAT with field "ref_audio": it
 * is no recording of speech. Otherwise the service's failure, without a field. Waits up to two minutes; `cancelled`
 * (may be NULL) is asked at least once a second meanwhile, on this thread, and true ends it with TMB_ERROR_CANCELLED.
 * Thread-safe. */
TMB_API tmb_status tmb_transcribe(tmb_context *context, const char *path, bool (*cancelled)(void *user), void *user,
                                  char **text, tmb_error *error);

typedef enum tmb_stage {
    TMB_STAGE_QUEUED = 0,
    TMB_STAGE_RESAMPLE_REFERENCE, /* 1 */
    TMB_STAGE_ENHANCE_REFERENCE,  /* 2 */
    TMB_STAGE_SPEECH,             /* 3 */
    TMB_STAGE_RESAMPLE_SPEECH,    /* 4 */
    TMB_STAGE_ENHANCE_SPEECH,     /* 5 */
    TMB_STAGE_DONE,
    TMB_STAGE_COUNT
} tmb_stage;
TMB_API const char *tmb_stage_name(tmb_stage stage);

/* A piece of a long text and where it lies in the result. */
typedef struct tmb_segment {
    const char *text;
    double start, end; /* seconds */
} tmb_segment;

/* What became of an item; everything is valid during the callback only. */
typedef struct tmb_clone_result {
    uint64_t item;
    const char *custom_id; /* or NULL */
    tmb_error error;       /* status TMB_OK: the rest is set */
    const float *samples;  /* with want_samples */
    size_t sample_count;
    int sample_rate;           /* Hz */
    double duration;           /* seconds */
    const char *engine;        /* "preview", "qwen3", "remote" */
    const char *model;         /* the name of the model that spoke, or NULL */
    bool is_clone;             /* false: another voice than a reference's spoke */
    bool instruct_dropped;     /* the model does not follow instructions: it was given none */
    const char *finish_reason; /* "stop", "length", "runaway" */
    uint64_t seed;
    double timings[TMB_STAGE_COUNT]; /* seconds spent in each stage, [TMB_STAGE_QUEUED] waiting */
    double first_audio;              /* seconds from submit to the first audio */
    double total;                    /* seconds from submit to the result */
    const int16_t *codes;            /* [code_frames, code_books], with want_codes */
    size_t code_frames, code_books;
    const tmb_segment *segments;
    size_t segment_count;
    const float *reference_clean; /* 48 kHz reference after stage 2, if it ran for this item; or NULL */
    size_t reference_clean_count;
    const tmb_reference_info *reference; /* NULL: a saved voice spoke. Set for a refused reference too */
    bool voice_unusable;                 /* request.voice could not be used; request.ref_audio was */
} tmb_clone_result;

/* Callbacks of one item; any may be NULL. They come one at a time for an item, from the library's
 * threads, and must not call tmb_close. `result` is always the last and comes exactly once. */
typedef struct tmb_clone_callbacks {
    void *user;
    void (*progress)(void *user, uint64_t item, tmb_stage stage, double fraction);
    /* Audio as it is made, mono, after stages 4 and 5. Return false to cancel. A slow callback holds
     * up its own item only. */
    bool (*audio)(void *user, uint64_t item, const float *samples, size_t count, int rate);
    void (*result)(void *user, const tmb_clone_result *result);
    /* What was measured of the reference, once and before the first audio: whoever streams can warn before it sounds.
     * Not for a saved voice, nor for one of the model's own. */
    void (*reference)(void *user, uint64_t item, const tmb_reference_info *reference);
    /* Who speaks, once and before the first audio: the result's `engine` and `is_clone`. Needs `audio`. */
    void (*speaks)(void *user, uint64_t item, const char *engine, bool is_clone);
} tmb_clone_callbacks;

/* Starts an item and returns its number. Everything but ref_data and ref_samples is copied. Errors
 * that can be seen at once (bad argument, queue full: TMB_ERROR_LIMIT) come from this call, and then
 * there is no callback; everything later comes through the result. */
TMB_API tmb_status tmb_clone_submit(tmb_context *context, const tmb_clone_request *request,
                                    const tmb_clone_callbacks *callbacks, uint64_t *item, tmb_error *error);

/* Asks an item to stop; its result comes with TMB_ERROR_CANCELLED. Unknown numbers are ignored. */
TMB_API void tmb_clone_cancel(tmb_context *context, uint64_t item);

/* Waits until no item is under way. Not from a callback. */
TMB_API void tmb_clone_wait(tmb_context *context);

/* ---- The fields of a request ----------------------------------------------------------------- */

typedef enum tmb_clone_field_type {
    TMB_CLONE_TEXT = 0, /* const char * */
    TMB_CLONE_LANGUAGE, /* const char *: a code, a language tag or an English name */
    TMB_CLONE_NUMBER,   /* double */
    TMB_CLONE_INTEGER,  /* int */
    TMB_CLONE_LENGTH,   /* size_t */
    TMB_CLONE_BOOLEAN,  /* bool */
    TMB_CLONE_SEED,     /* uint64_t; has_seed is set with it */
    TMB_CLONE_FORMAT,   /* the name of a format for the result; not part of tmb_clone_request */
    TMB_CLONE_LEVEL     /* tmb_level_mode by its name, at `offset` and in post.level alike */
} tmb_clone_field_type;

enum {
    TMB_CLONE_REQUIRED = 1,
    TMB_CLONE_PER_ITEM = 2,      /* over HTTP a list gives each item its own value */
    TMB_CLONE_CLEANING = 4,      /* says something only if the cleaning stages may run */
    TMB_CLONE_EMPTY_IS_NONE = 8, /* "" means the same as leaving the field out */
    TMB_CLONE_REFERENCE = 16,    /* about a recording or a saved voice */
    TMB_CLONE_OWN_VOICE = 32     /* about the voices that are in a model */
};

/* A field of tmb_clone_request as batch files, HTTP bodies and forms, and their descriptions have it. In all of them
 * null means the same as leaving the field out. */
typedef struct tmb_clone_field {
    const char *name;
    const char *aliases[2]; /* other names that mean the same, or NULL: those of the official package */
    tmb_clone_field_type type;
    unsigned flags;
    size_t offset;           /* in tmb_clone_request */
    double minimum, maximum; /* of numbers; both 0: none */
    /* A server that others share has a narrower range on purpose: beyond it there are only values that make noise, or
     * numbers that JSON readers do not carry exactly. Both 0: the same range. */
    double server_minimum, server_maximum;
    const char *const *choices; /* of TMB_CLONE_LEVEL: the names in the order of their numbers, then NULL */
    const char *fallback;       /* the default as JSON; NULL: the model's, a random one, or none, as the summary says */
    const char *server_fallback; /* what a server takes for it, if that is another */
    const char *summary;         /* one sentence */
} tmb_clone_field;

/* All fields, *count of them, in static storage. */
TMB_API const tmb_clone_field *tmb_clone_fields(size_t *count);

/* The field that is called `name`, by alias too; NULL: there is none. */
TMB_API const tmb_clone_field *tmb_clone_field_find(const char *name);

/* ---- Saved voices --------------------------------------------------------------------------- */

/* Runs stages 1 and 2 (as the request says) and the engine's encoders over the request's reference
 * and writes a voice file. TMB_ERROR_UNSUPPORTED if the engine has no voices to save. */
TMB_API tmb_status tmb_voice_save(tmb_context *context, const tmb_clone_request *request, const char *path,
                                  tmb_error *error);

/* The same, and what was measured of the reference; `reference->duration` is 0 if it came to no measure. */
TMB_API tmb_status tmb_voice_create(tmb_context *context, const tmb_clone_request *request, const char *path,
                                    tmb_reference_info *reference, tmb_error *error);

/* What is in a saved voice. */
typedef struct tmb_saved_voice {
    char model[64];        /* the kind of model that it fits */
    char transcript[1024]; /* what is said in the reference, as much as fits; "": none */
    double seconds;        /* length of the reference */
    bool in_context;       /* false: the x-vector alone */
} tmb_saved_voice;

/* Reads a voice file without a model. TMB_ERROR_FORMAT and TMB_ERROR_UNSUPPORTED name the file. Thread-safe. */
TMB_API tmb_status tmb_saved_voice_read(const char *path, tmb_saved_voice *out, tmb_error *error);

/* A voice in a folder: a voice file (NAME.tmbvoice), or a recording with its transcript beside it (NAME.flac and
 * NAME.txt).
 */
typedef struct tmb_folder_voice {
    const char *name;       /* the file's name without its ending, UTF-8 in NFC */
    const char *path;       /* the voice file or the recording */
    const char *transcript; /* the transcript's file; NULL: it is a voice file */
} tmb_folder_voice;

/* Calls back for each voice of a folder, by name, a voice file before a recording of the same name; false ends it. What
 * it gets is valid during the call. Files whose names are not UTF-8 are passed over. TMB_ERROR_IO: the folder cannot be
 * read (error->system says why). Thread-safe. */
TMB_API tmb_status tmb_voice_folder(const char *folder, bool (*each)(void *user, const tmb_folder_voice *voice),
                                    void *user, tmb_error *error);

/* ---- Models -------------------------------------------------------------------------------- */

typedef enum tmb_model_state {
    TMB_MODEL_ABSENT = 0, /* nothing of it is here */
    TMB_MODEL_INCOMPLETE, /* part of it is here: a download that has not finished, or files that are missing or damaged
                           */
    TMB_MODEL_COMPLETE    /* all its files are here */
} tmb_model_state;

typedef struct tmb_model_info {
    const char *name;  /* "qwen3-tts-0.6b", "qwen3-tts-1.7b-voicedesign", "dfn3" */
    const char *title; /* for people */
    const char *license;
    const char *path; /* where it is, or NULL: not installed */
    uint64_t bytes;   /* on disk, or of the download if it is not installed */
    bool installed;
    tmb_model_state state;
    const char *short_name, *repository; /* "0.6b", "Qwen/Qwen3-TTS-12Hz-0.6B-Base"; NULL: none */
    const char *reason;                  /* why it is not installed and what to do, in one sentence; NULL if it is */
    const char *kind;                    /* "base", "custom_voice", "voice_design"; NULL: it does not speak */
} tmb_model_info;

/* Calls back once for each model that timbre knows. */
TMB_API tmb_status tmb_models(void (*each)(void *user, const tmb_model_info *model), void *user, tmb_error *error);

/* Whether a model could be loaded, seen without loading it (milliseconds), for a program that must know at its start.
 *
 * tmb_find_model: `model` as in tmb_options: a name ("0.6b"), a checkpoint's folder, the Hugging Face cache's folder of
 * a repository, a repository's name ("Qwen/Qwen3-TTS-12Hz-0.6B-Base"); NULL is the smallest that clones voices and
 * is complete.
 * tmb_find_denoiser: `path` as in tmb_options; NULL looks where the library looks.
 * TMB_OK: *state is TMB_MODEL_COMPLETE and *path the folder or archive (tmb_free). Otherwise TMB_ERROR_MODEL, *path is
 * NULL, *state says whether a part is there, and the message names what is missing and what to do ("... run `timbre
 * pull qwen3-tts-0.6b`"). `state` and `path` may be NULL. Thread-safe. */
TMB_API tmb_status tmb_find_model(const char *model, tmb_model_state *state, char **path, tmb_error *error);
TMB_API tmb_status tmb_find_denoiser(const char *path_or_null, tmb_model_state *state, char **path, tmb_error *error);

/* Downloads a model. `progress` (may be NULL) returns false to cancel; `total` 0 = unknown. */
TMB_API tmb_status tmb_pull(const char *name,
                            bool (*progress)(void *user, const char *file, uint64_t done, uint64_t total), void *user,
                            tmb_error *error);

/* How far a download is. */
typedef struct tmb_pull_progress {
    const char *file;             /* that is being fetched */
    uint64_t done, total;         /* its bytes; total 0 = not known */
    uint64_t all_done, all_total; /* those of all files of the model */
} tmb_pull_progress;

typedef struct tmb_pull_request {
    size_t struct_size; /* set by tmb_pull_request_default */
    const char *name;   /* "0.6b", "qwen3-tts-0.6b", "dfn3", or a repository's name on the Hugging Face Hub */
    bool system;        /* for all users and services of this machine: $TIMBRE_SYSTEM_MODELS, /var/lib/timbre-models */
    bool (*progress)(void *user, const tmb_pull_progress *progress); /* false cancels; may be NULL */
    void (*note)(void *user, const char *line); /* what is being done, sizes, retries and waits; may be NULL */
    void *user;
} tmb_pull_request;

TMB_API void tmb_pull_request_default(tmb_pull_request *request);

/* Downloads a model; a Qwen3-TTS model brings the denoiser along if that is not installed. What is there already is
 * kept, and a download that was interrupted goes on. Callbacks come from this thread. */
TMB_API tmb_status tmb_pull_model_with(const tmb_pull_request *request, tmb_error *error);

/* What removing a model took away. */
typedef struct tmb_removal {
    uint64_t bytes; /* on disk */
    size_t files;   /* packs included */
    size_t kept;    /* files in the model's folders that others put there */
} tmb_removal;

/* Removes a model that was pulled, with the packs that were made of it: from this user's cache, or with `system` from
 * the machine's. Only what a download writes is removed, never a blob that something else in the cache leads to, and
 * never a folder that was given as --model. TMB_ERROR_MODEL: it is not there. */
TMB_API tmb_status tmb_remove_model(const char *name, bool system, tmb_removal *out, tmb_error *error);

/* Packs: weights as quantizing made them, kept in $XDG_CACHE_HOME/timbre/packs so that later starts need not do it
 * again. They can always be removed; the next start makes what it needs. */
typedef struct tmb_pack_info {
    const char *path;
    uint64_t bytes;
    const char *model;  /* the folder that it was made of, or NULL: not known */
    bool stale;         /* nothing uses it any more ... */
    const char *reason; /* ... because of this */
} tmb_pack_info;

/* Calls back for each pack; what it gets is valid during the call. */
TMB_API tmb_status tmb_packs(void (*each)(void *user, const tmb_pack_info *pack), void *user, tmb_error *error);

/* Removes the packs that are stale. */
TMB_API tmb_status tmb_packs_prune_stale(tmb_removal *out, tmb_error *error);

/* Examining a model: files, checksums of the released ones, names, shapes and types, NaN and infinity, the tokenizer on
 * known texts, configuration values. */
typedef enum tmb_verify_verdict {
    TMB_VERIFY_OK = 0,
    TMB_VERIFY_NOTE, /* worth knowing, no fault */
    TMB_VERIFY_FAULT
} tmb_verify_verdict;

typedef struct tmb_verify_check {
    const char *name; /* a file, or what was looked at */
    tmb_verify_verdict verdict;
    const char *detail; /* for people, one sentence */
} tmb_verify_check;

typedef struct tmb_verify_request {
    size_t struct_size; /* sizeof(tmb_verify_request) */
    const char *model;  /* as for tmb_find_model, also a damaged folder; "dfn3" or an archive: the denoiser */
    bool (*each)(void *user, const tmb_verify_check *check);     /* false cancels */
    bool (*progress)(void *user, uint64_t done, uint64_t total); /* bytes; false cancels; may be NULL */
    void *user;
} tmb_verify_request;

/* Reports every check; *faults (may be NULL) counts those that are TMB_VERIFY_FAULT. TMB_OK says that the examination
 * came to its end, whatever it found. TMB_ERROR_MODEL: there is no such model. TMB_ERROR_CANCELLED. Reads whole files,
 * so it takes seconds to a minute. Callbacks come from this thread. */
TMB_API tmb_status tmb_verify_model(const tmb_verify_request *request, size_t *faults, tmb_error *error);

/* Token ids of `text` by the tokenizer in a checkpoint's folder; *ids is allocated (tmb_free). The last tokenizer is
 * kept, so that many texts in a row read its files once. Thread-safe. */
TMB_API tmb_status tmb_tokenize(const char *model, const char *text, size_t text_bytes, int32_t **ids, size_t *count,
                                tmb_error *error);

/* The CPU level that runs ("avx2", ...), and the CPUs of this process. */
TMB_API const char *tmb_cpu_level(void);
TMB_API int tmb_cpu_threads(void);

#ifdef __cplusplus
}
#endif
#endif
