#ifndef TMB_TTS_QWEN3_TEXT_TOKENIZER_INTERNAL_H
#define TMB_TTS_QWEN3_TEXT_TOKENIZER_INTERNAL_H

#include "tts/qwen3/text/added_tokens.h"
#include "tts/qwen3/text/tokenizer.h"
#include "tts/qwen3/text/vocabulary.h"

struct tmb_tokenizer {
    tmb_vocabulary vocabulary;
    tmb_added_tokens added;
    tmb_pretokenizer *pretokenizer;
};

#endif
