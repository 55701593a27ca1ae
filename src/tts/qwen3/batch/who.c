/* Who speaks: a voice, one of the model's speakers, or a description. What a model cannot do is refused with what it
 * can. */
#include "tts/qwen3/batch/engine_internal.h"

#include "base/error.h"
#include "base/hash.h"
#include "base/memory.h"
#include "base/text.h"
#include "tts/qwen3/text/language.h"
#include "tts/qwen3/text/speaker.h"

#include <string.h>

static tmb_status refuse_speakers(const tmb_speak_request *request, tmb_error *error) {
    return tmb_text_is_given(request->speaker)
               ? tmb_fail(error, TMB_ERROR_ARGUMENT,
                          "this is a VoiceDesign model: it makes voices from descriptions and has no speaker "
                          "\"%.60s\"; say in instruct how the voice is, or use a CustomVoice model",
                          request->speaker)
               : tmb_fail(error, TMB_ERROR_ARGUMENT,
                          "this is a VoiceDesign model: it makes voices from descriptions and has no speakers; say in "
                          "instruct how the voice is, or use a CustomVoice model");
}

/* A CustomVoice model: the speaker, or NULL if none is asked for. */
static tmb_status find_speaker(const tmb_qwen3_config *config, const tmb_speak_request *request,
                               const tmb_qwen3_speaker **out, tmb_error *error) {
    char list[320];
    tmb_qwen3_list_speakers(config, list, sizeof list);
    if (request->who == TMB_WHO_DESCRIPTION) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT,
                        "this is a CustomVoice model: it speaks with its own speakers and makes no voice from a "
                        "description; name a speaker (%s), or use a VoiceDesign model",
                        list);
    }
    if (request->speaker == NULL && config->speaker_count == 1) {
        *out = &config->speakers[0];
        return TMB_OK;
    }
    if (request->speaker == NULL && config->speaker_count > 1) {
        return tmb_fail(
            error, TMB_ERROR_ARGUMENT, "whose voice? name a speaker, the model has %s%s", list,
            tmb_text_is_given(request->instruct) ? "; for a voice from a description use a VoiceDesign model" : "");
    }
    return tmb_qwen3_find_speaker(config, request->speaker, out, error);
}

/* A Base model. */
static tmb_status check_cloning(const tmb_speak_request *request, const tmb_voice *voice, tmb_error *error) {
    if (tmb_text_is_given(request->speaker)) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT,
                        "this is a Base model: it clones voices and has no built-in speaker \"%.60s\": give it a "
                        "recording or a saved "
                        "voice, or use a CustomVoice model",
                        request->speaker);
    }
    if (tmb_text_is_given(request->instruct)) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT,
                        "this is a Base model: it clones voices and follows no instructions: leave instruct out, or "
                        "use a CustomVoice "
                        "or VoiceDesign model");
    }
    if (voice == NULL && (request->who == TMB_WHO_SPEAKER || request->who == TMB_WHO_DESCRIPTION)) {
        bool speaker = request->who == TMB_WHO_SPEAKER;
        return tmb_fail(error, TMB_ERROR_ARGUMENT,
                        "this is a Base model: it clones voices and %s; give it a recording or a saved voice, or use a "
                        "%s model",
                        speaker ? "has no speakers" : "makes none from a description",
                        speaker ? "CustomVoice" : "VoiceDesign");
    }
    return voice == NULL ? tmb_fail(error, TMB_ERROR_ARGUMENT,
                                    "this is a Base model, which clones voices: give it a recording or a saved voice")
                         : TMB_OK;
}

tmb_status tmb_qwen3_refuse_cloning(const tmb_qwen3_config *config, tmb_error *error) {
    return config->kind == TMB_QWEN3_CUSTOM_VOICE
               ? tmb_fail(error, TMB_ERROR_ARGUMENT,
                          "this is a CustomVoice model: it speaks with its own speakers and cannot clone a voice; name "
                          "a speaker, or use a Base model")
               : tmb_fail(
                     error, TMB_ERROR_ARGUMENT,
                     "this is a VoiceDesign model: it makes voices from descriptions and cannot clone one; give it "
                     "instruct, or use a Base model");
}

static tmb_status check_family(const tmb_qwen3_engine *engine, const tmb_qwen3_voice *voice, tmb_error *error) {
    if (strcmp(voice->family, engine->model.family) != 0) {
        return tmb_fail(error, TMB_ERROR_MODEL, "this voice was made for %s and the model is %s: make the voice again",
                        voice->family, engine->model.family);
    }
    return TMB_OK;
}

static void set_fingerprint(tmb_speech *speech) {
    for (uint64_t i = 0; i < 2; i++) {
        uint64_t hash = tmb_hash_mix(i, (uint64_t)(int64_t)speech->speaker);
        if (speech->instruct != NULL) {
            hash = tmb_hash_mix(hash, tmb_hash_bytes(speech->instruct, strlen(speech->instruct), i + 1));
        }
        speech->fingerprint[i] = hash;
    }
}

static tmb_status set_voice(const tmb_qwen3_engine *engine, const tmb_speak_request *request, tmb_voice *voice,
                            tmb_speech *speech, tmb_error *error) {
    const tmb_qwen3_voice *mine = (const tmb_qwen3_voice *)voice;
    tmb_status status = check_cloning(request, voice, error);
    if (status != TMB_OK || (status = check_family(engine, mine, error)) != TMB_OK) {
        return status;
    }
    speech->voice = tmb_voice_retain(voice);
    speech->in_context = mine->frames > 0 && mine->text != NULL && !request->x_vector_only;
    memcpy(speech->fingerprint, mine->fingerprint, sizeof speech->fingerprint);
    return TMB_OK;
}

tmb_status tmb_speech_set_who(const tmb_qwen3_engine *engine, const tmb_speak_request *request, tmb_voice *voice,
                              tmb_speech *speech, tmb_error *error) {
    const tmb_qwen3_config *config = &engine->model.config;
    const tmb_qwen3_speaker *speaker = NULL;
    speech->speaker = -1;
    if (tmb_qwen3_clones(config)) {
        return set_voice(engine, request, voice, speech, error);
    }
    if (voice != NULL) {
        return tmb_qwen3_refuse_cloning(config, error);
    }
    bool designs = config->kind == TMB_QWEN3_VOICE_DESIGN;
    if (designs && (tmb_text_is_given(request->speaker) || request->who == TMB_WHO_SPEAKER)) {
        return refuse_speakers(request, error);
    }
    tmb_status status = designs ? TMB_OK : find_speaker(config, request, &speaker, error);
    if (status != TMB_OK ||
        (status = tmb_qwen3_speaker_language(config, speaker, &speech->language, error)) != TMB_OK) {
        return status;
    }
    speech->speaker = speaker == NULL ? -1 : speaker->id;
    speech->instruct_dropped = tmb_text_is_given(request->instruct) && config->drops_instruct;
    if (tmb_text_is_given(request->instruct) && !config->drops_instruct) {
        speech->instruct = tmb_strdup(request->instruct);
        if (speech->instruct == NULL) {
            return tmb_fail_memory(error, "an instruction", strlen(request->instruct));
        }
    }
    set_fingerprint(speech);
    return TMB_OK;
}
