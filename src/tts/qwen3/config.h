/* What the configuration files of a Qwen3-TTS checkpoint say, checked.
 *
 * config.json, generation_config.json (optional) and speech_tokenizer/config.json. Keys that are not listed here
 * are ignored: real files carry some sixty generic ones. Every number is within the bounds that the reader
 * states, divisors divide, and the networks fit each other, so code that uses a configuration needs no
 * checks of its own beyond those of tensors' shapes. Figures in brackets are those of the released 0.6B.
 */
#ifndef TMB_TTS_QWEN3_CONFIG_H
#define TMB_TTS_QWEN3_CONFIG_H

#include "timbre/timbre.h"

enum {
    TMB_QWEN3_CODE_GROUPS_MAX = 64,
    TMB_QWEN3_LANGUAGES_MAX = 64,
    TMB_QWEN3_SPEAKERS_MAX = 256,
    TMB_QWEN3_SPEAKER_NAME_MAX = 260, /* bytes, with the 0 */
    TMB_QWEN3_STAGES_MAX = 8,         /* of convolutions, in codec and speaker encoder */
    TMB_QWEN3_SUPPRESSED_CODES = 1024 /* the talker's last ids, never sampled (except the end of speech) */
};

/* A decoder-only transformer (pre-norm, GQA, RMS norm of queries and keys, SwiGLU, RoPE, no biases): the shape that
 * talker and code predictor share. */
typedef struct tmb_qwen3_transformer_config {
    size_t layers;            /* [28; predictor 5] */
    size_t hidden_size;       /* [1024; 1.7B: 2048] */
    size_t intermediate_size; /* [3072] */
    size_t attention_heads;   /* [16] */
    size_t key_value_heads;   /* [8], divides attention_heads */
    size_t head_dim;          /* [128], even; attention_heads * head_dim need not be hidden_size */
    double rms_norm_eps;      /* [1e-6] */
    double rope_theta;        /* [1e6] */
    size_t max_positions;     /* [32768] longest sequence */
} tmb_qwen3_transformer_config;

typedef struct tmb_qwen3_language {
    char name[32]; /* lower case, "english" */
    int32_t id;    /* codec token */
} tmb_qwen3_language;

typedef struct tmb_qwen3_talker_config {
    tmb_qwen3_transformer_config transformer;
    size_t vocab_size;       /* [3072] first codes and codec tokens; the last 1024 are not codes */
    size_t code_groups;      /* [16] codes in a frame */
    size_t text_vocab_size;  /* [151936] */
    size_t text_hidden_size; /* [2048] */
    int32_t codec_bos_id, codec_eos_id, codec_pad_id;
    int32_t codec_think_id, codec_nothink_id, codec_think_bos_id, codec_think_eos_id;
    size_t language_count;
    tmb_qwen3_language languages[TMB_QWEN3_LANGUAGES_MAX]; /* as the file lists them, without dialects */
    size_t dialect_count;
    tmb_qwen3_language dialects[TMB_QWEN3_LANGUAGES_MAX]; /* which speakers speak; nobody asks for one by name */
} tmb_qwen3_talker_config;

typedef struct tmb_qwen3_predictor_config {
    tmb_qwen3_transformer_config transformer;
    size_t vocab_size;  /* [2048] entries of a codebook */
    size_t code_groups; /* the talker's */
} tmb_qwen3_predictor_config;

/* ECAPA-TDNN; class defaults if the file is silent. */
typedef struct tmb_qwen3_speaker_config {
    int sample_rate;                        /* [24000] */
    size_t mel_bands;                       /* [128] */
    size_t embedding_size;                  /* [1024] the talker's hidden_size */
    size_t stages;                          /* [5]: first tdnn, squeeze-excitation blocks, feature aggregation */
    size_t channels[TMB_QWEN3_STAGES_MAX];  /* [512, 512, 512, 512, 1536], all but the last equal and
                                               divisible by res2net_scale; the last = the blocks' sum */
    size_t kernels[TMB_QWEN3_STAGES_MAX];   /* [5, 3, 3, 3, 1], odd */
    size_t dilations[TMB_QWEN3_STAGES_MAX]; /* [1, 2, 3, 4, 1] */
    size_t attention_channels;              /* [128] */
    size_t res2net_scale;                   /* [8] */
    size_t se_channels;                     /* [128] */
} tmb_qwen3_speaker_config;

/* Mimi encoder: waveform to codes. */
typedef struct tmb_qwen3_codec_encoder_config {
    size_t filters; /* [64] channels after the first convolution; doubled by every stage */
    size_t kernel_size, last_kernel_size, residual_kernel_size; /* [7, 3, 3] */
    size_t residual_layers;                                     /* [1] per stage */
    size_t dilation_growth;                                     /* [2] of the residual layers */
    size_t compress;                     /* [2] hidden channels of a residual layer = channels / compress */
    size_t stages;                       /* [4] */
    size_t ratios[TMB_QWEN3_STAGES_MAX]; /* [4, 5, 6, 8]: strides in the order of the signal, first stage first
                                            (the file lists them reversed) */
    size_t downsample;                   /* [2] stride of the last convolution, 25 Hz to 12.5 Hz */
    size_t hidden_size;                  /* [512] */
    size_t layers;                       /* [8] */
    size_t attention_heads;              /* [8] */
    size_t key_value_heads;              /* [8] */
    size_t head_dim;                     /* [64] */
    size_t intermediate_size;            /* [2048] */
    double norm_eps;                     /* [1e-5] */
    double rope_theta;                   /* [10000] */
    size_t codebook_size;                /* [2048] */
    size_t codebook_dim;                 /* [256] width of an entry, and of the quantizers' input projection */
    size_t quantizers;                   /* [32] books in the file; the first valid_quantizers are used */
    size_t semantic_quantizers;          /* [1] */
} tmb_qwen3_codec_encoder_config;

/* Codes to waveform. */
typedef struct tmb_qwen3_codec_decoder_config {
    size_t codebook_size;                         /* [2048] */
    size_t codebook_dim;                          /* [512] after the quantizers' projection; an entry has half of it */
    size_t quantizers;                            /* [16] */
    size_t semantic_quantizers;                   /* [1] */
    size_t latent_dim;                            /* [1024] */
    size_t hidden_size;                           /* [512] */
    size_t intermediate_size;                     /* [1024] */
    size_t layers;                                /* [8] */
    size_t attention_heads;                       /* [16] */
    size_t key_value_heads;                       /* [16] */
    size_t head_dim;                              /* [64] */
    double rms_norm_eps;                          /* [1e-5] */
    double rope_theta;                            /* [10000] */
    size_t sliding_window;                        /* [72] frames that a frame sees, itself included */
    size_t upsample_stages;                       /* [2] transposed convolution + ConvNeXt */
    size_t upsample_ratios[TMB_QWEN3_STAGES_MAX]; /* [2, 2] ("upsampling_ratios") */
    size_t decoder_dim;                           /* [1536] channels into the first block; halved by every block */
    size_t decoder_stages;                        /* [4] Snake blocks */
    size_t decoder_rates[TMB_QWEN3_STAGES_MAX];   /* [8, 5, 4, 3] ("upsample_rates") */
} tmb_qwen3_codec_decoder_config;

typedef struct tmb_qwen3_codec_config {
    int sample_rate;          /* [24000] in and out */
    size_t samples_per_frame; /* [1920]: the product of all strides, both ways */
    size_t valid_quantizers;  /* [16] codes in a frame */
    tmb_qwen3_codec_encoder_config encoder;
    tmb_qwen3_codec_decoder_config decoder;
} tmb_qwen3_codec_config;

/* Settings of one of the two samplers. */
typedef struct tmb_qwen3_sampling_config {
    bool do_sample;
    double temperature; /* [0.9] > 0 */
    double top_p;       /* [1.0] 0 to 1 */
    size_t top_k;       /* [50] 0 = no limit */
} tmb_qwen3_sampling_config;

typedef struct tmb_qwen3_generation_config {
    tmb_qwen3_sampling_config talker, predictor;
    double repetition_penalty; /* [1.05] > 0; the talker's */
    size_t max_new_tokens;     /* [8192]; 2048 if the file does not say */
} tmb_qwen3_generation_config;

/* A built-in voice: a row of the talker's codec embedding. */
typedef struct tmb_qwen3_speaker {
    char name[TMB_QWEN3_SPEAKER_NAME_MAX]; /* as the file writes it, UTF-8 */
    int32_t id;                            /* codec token */
    /* Index of the dialect that this speaker speaks if the language is auto or Chinese; -1: none; -2: the file does not
     * say, or names one that it does not have, which matters for these two languages only. */
    int dialect;
} tmb_qwen3_speaker;
enum { TMB_QWEN3_NO_DIALECT = -1, TMB_QWEN3_BROKEN_DIALECT = -2 };

/* What a checkpoint was trained to do: tts_model_type. */
typedef enum tmb_qwen3_kind {
    TMB_QWEN3_BASE = 0,     /* "base": clones from a recording */
    TMB_QWEN3_CUSTOM_VOICE, /* "custom_voice": speakers that are rows of the codec embedding */
    TMB_QWEN3_VOICE_DESIGN  /* "voice_design": a voice from a description */
} tmb_qwen3_kind;

typedef struct tmb_qwen3_config {
    tmb_qwen3_kind kind;
    bool drops_instruct; /* the 0.6B of a custom_voice model: the official implementation drops instructions */
    size_t speaker_count;
    tmb_qwen3_speaker speakers[TMB_QWEN3_SPEAKERS_MAX]; /* as the file lists them */
    tmb_qwen3_talker_config talker;
    tmb_qwen3_predictor_config predictor;
    tmb_qwen3_speaker_config speaker;
    tmb_qwen3_codec_config codec;
    tmb_qwen3_generation_config generation;
    int32_t im_start_id, im_end_id, assistant_id; /* text tokens [151644, 151645, 77091] */
    int32_t tts_pad_id, tts_bos_id, tts_eos_id;   /* text tokens [151671, 151672, 151673] */
    char size_name[16];                           /* "0b6", "1b7": tts_model_size, or "" */
} tmb_qwen3_config;

/* Whether it clones from a recording: only then has it a speaker encoder that means something. */
static inline bool tmb_qwen3_clones(const tmb_qwen3_config *config) { return config->kind == TMB_QWEN3_BASE; }

/* Reads the files of a checkpoint's folder. TMB_ERROR_MODEL if a file is missing, a field is missing or out of its
 * bounds, or two contradict each other: the message names file and field. TMB_ERROR_UNSUPPORTED for a checkpoint
 * of another kind (another codec, another type) or with features that the released ones do not use. */
tmb_status tmb_qwen3_config_read(const char *folder, tmb_qwen3_config *out, tmb_error *error);

/* The same from the files' texts (0-terminated not needed). generation may be NULL. */
typedef struct tmb_qwen3_config_texts {
    const char *config, *generation, *codec;
    size_t config_bytes, generation_bytes, codec_bytes;
} tmb_qwen3_config_texts;
tmb_status tmb_qwen3_config_parse(const tmb_qwen3_config_texts *texts, tmb_qwen3_config *out, tmb_error *error);

#endif
