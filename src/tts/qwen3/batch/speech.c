#include "tts/qwen3/batch/engine_internal.h"

#include "base/checked.h"
#include "base/error.h"
#include "base/memory.h"
#include "tts/qwen3/text/language.h"
#include "tts/qwen3/text/sentences.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define FRAMES_PER_SECOND 12.5
#define FIRST_CHUNK_FRAMES 4
/* Bytes of the marks and the white space that may stay with a piece beyond its length. */
#define PIECE_MARKS 1024
/* Ids of an instruction's template, at most: in small vocabularies "user" is several. */
#define INSTRUCT_TEMPLATE_IDS 12

static double frames_per_second(const tmb_qwen3_engine *engine) {
    return (double)engine->model.config.codec.sample_rate / (double)engine->model.config.codec.samples_per_frame;
}

/* ---- Settings --------------------------------------------------------------------------------- */

static tmb_status read_sampler(bool greedy, double temperature, double top_p, int top_k,
                               const tmb_qwen3_sampling_config *defaults, tmb_sampling *out, tmb_error *error) {
    out->greedy = greedy || temperature == 0;
    out->temperature = temperature < 0 ? defaults->temperature : temperature;
    out->top_p = top_p < 0 ? defaults->top_p : top_p;
    out->top_k = top_k < 0 ? defaults->top_k : (size_t)top_k;
    if (!out->greedy && !(out->temperature >= 1e-4 && out->temperature <= 100)) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "temperature is %g, it must be 0 to 100", temperature);
    }
    if (!(out->top_p >= 0 && out->top_p <= 1)) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "top_p is %g, it must be 0 to 1", top_p);
    }
    if (!out->greedy && !defaults->do_sample && temperature < 0 && top_p < 0 && top_k < 0) {
        out->greedy = true;
    }
    return TMB_OK;
}

static tmb_status read_settings(const tmb_qwen3_engine *engine, const tmb_speak_request *request, tmb_speech *speech,
                                tmb_error *error) {
    const tmb_qwen3_generation_config *defaults = &engine->model.config.generation;
    tmb_lm_sampling *sampling = &speech->sampling;
    tmb_status status = read_sampler(request->greedy, request->temperature, request->top_p, request->top_k,
                                     &defaults->talker, &sampling->talker, error);
    if (status == TMB_OK) {
        status = read_sampler(request->greedy, request->subtalker_temperature, request->subtalker_top_p,
                              request->subtalker_top_k, &defaults->predictor, &sampling->predictor, error);
    }
    if (status != TMB_OK) {
        return status;
    }
    sampling->repetition_penalty =
        request->repetition_penalty < 0 ? defaults->repetition_penalty : request->repetition_penalty;
    if (!(sampling->repetition_penalty >= 0.01 && sampling->repetition_penalty <= 100)) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "repetition_penalty is %g, it must be 0.01 to 100",
                        request->repetition_penalty);
    }
    size_t tokens = request->max_frames > 0 ? (size_t)request->max_frames : defaults->max_new_tokens;
    if (request->max_frames == 1) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "max_frames 1 leaves no frame: at most one less are made");
    }
    if (request->max_seconds > 0) {
        double frames = floor(request->max_seconds * frames_per_second(engine) + 1e-9);
        if (frames < 1) {
            return tmb_fail(error, TMB_ERROR_ARGUMENT, "max_seconds %g is less than a frame (%g s)",
                            request->max_seconds, 1 / frames_per_second(engine));
        }
        tokens = frames + 1 < (double)tokens ? (size_t)frames + 1 : tokens;
    }
    speech->frame_limit = speech->piece_limit = tokens - 1;
    speech->seed = request->seed;
    speech->guard = request->guard_runaway;
    speech->waits = request->guard_runaway && !request->stream;
    speech->non_streaming = request->text_layout == TMB_TEXT_WHOLE ||
                            (request->text_layout == TMB_TEXT_DEFAULT && !tmb_qwen3_clones(&engine->model.config));
    speech->want_codes = request->want_codes;
    speech->chunk = request->first_chunk_frames > 0 ? (size_t)request->first_chunk_frames : FIRST_CHUNK_FRAMES;
    speech->chunk = speech->chunk < TMB_DECODE_FRAMES ? speech->chunk : TMB_DECODE_FRAMES;
    return tmb_qwen3_language_id(&engine->model.config.talker, request->language, &speech->language, error);
}

/* ---- Pieces ----------------------------------------------------------------------------------- */

static tmb_status make_pieces(const tmb_speak_request *request, tmb_speech *speech, tmb_error *error) {
    size_t bytes = strlen(speech->text);
    tmb_text_piece *parts = NULL;
    size_t count = 0;
    if (request->split_length > 0 || request->pauses) {
        tmb_split_options options;
        tmb_split_options_default(&options);
        size_t length = request->split_length > 0 ? request->split_length : SIZE_MAX / 8;
        options.max_length = length < TMB_SPLIT_LENGTH_MIN ? TMB_SPLIT_LENGTH_MIN : length;
        options.pauses = request->pauses;
        tmb_status status = tmb_text_split(speech->text, bytes, &options, &parts, &count, error);
        if (status != TMB_OK) {
            return status;
        }
    }
    speech->piece_count = count > 0 ? count : 1;
    speech->pieces = tmb_calloc(speech->piece_count, sizeof *speech->pieces);
    speech->segments = tmb_calloc(speech->piece_count, sizeof *speech->segments);
    speech->segment_texts = tmb_calloc(speech->piece_count, sizeof *speech->segment_texts);
    bool whole = speech->pieces != NULL && speech->segments != NULL && speech->segment_texts != NULL;
    for (size_t i = 0; i < speech->piece_count && whole; i++) {
        tmb_speech_piece *piece = &speech->pieces[i];
        *piece = (tmb_speech_piece){.begin = 0, .end = bytes};
        if (count > 0) {
            piece->begin = parts[i].content_begin;
            piece->end = parts[i].content_end;
            piece->pause_after = parts[i].pause_after;
        }
        speech->segment_texts[i] = tmb_asprintf("%.*s", (int)(piece->end - piece->begin), speech->text + piece->begin);
        whole = speech->segment_texts[i] != NULL;
        speech->segments[i].text = speech->segment_texts[i];
    }
    free(parts);
    return whole ? TMB_OK : tmb_fail_memory(error, "the text's pieces", 0);
}

/* Unless the caller limits the whole, each piece of a long text may take what the model allows one generation. */
static void widen_limit(const tmb_qwen3_engine *engine, const tmb_speak_request *request, tmb_speech *speech) {
    size_t limit;
    if (request->max_frames > 0 || speech->piece_count < 2) {
        return;
    }
    speech->piece_limit = engine->model.config.generation.max_new_tokens - 1;
    if (!tmb_mul_size(speech->piece_limit, speech->piece_count, &limit)) {
        return;
    }
    if (request->max_seconds > 0) {
        double most = floor(request->max_seconds * frames_per_second(engine) + 1e-9);
        limit = most < (double)limit ? (size_t)most : limit;
    }
    speech->frame_limit = limit;
}

/* The prompt of a piece; it borrows the voice's codes and x-vector. */
static tmb_status build_prompt(const tmb_qwen3_engine *engine, const tmb_speech *speech, tmb_prompt *prompt,
                               tmb_error *error) {
    const tmb_qwen3_model *model = &engine->model;
    const tmb_qwen3_voice *voice = (const tmb_qwen3_voice *)speech->voice;
    const tmb_speech_piece *piece = &speech->pieces[speech->piece];
    tmb_template_ids target = {0}, transcript = {0}, instruct = {0};
    tmb_status status =
        tmb_template_target(model->tokenizer, speech->text + piece->begin, piece->end - piece->begin, &target, error);
    if (status == TMB_OK && speech->in_context) {
        status = tmb_template_reference(model->tokenizer, voice->text, strlen(voice->text), &transcript, error);
    }
    if (status == TMB_OK && speech->instruct != NULL) {
        status = tmb_template_instruct(model->tokenizer, speech->instruct, strlen(speech->instruct), &instruct, error);
    }
    if (status == TMB_OK) {
        tmb_prompt_parts parts = {.instruct = instruct.ids,
                                  .instruct_count = instruct.count,
                                  .role = target.role,
                                  .text = target.text,
                                  .text_count = target.text_count,
                                  .vector = voice == NULL ? NULL : voice->speaker,
                                  .speaker = speech->speaker,
                                  .language = speech->language,
                                  .non_streaming = speech->non_streaming};
        if (speech->in_context) {
            parts.reference_codes = voice->codes;
            parts.reference_frames = voice->frames;
            parts.reference_text = transcript.text;
            parts.reference_text_count = transcript.text_count;
        }
        status = tmb_prompt_build(&model->config, &parts, prompt, error);
    }
    tmb_template_ids_free(&target);
    tmb_template_ids_free(&transcript);
    tmb_template_ids_free(&instruct);
    return status;
}

/* The same rows without anything that is kept of them. */
static tmb_status prefill_whole(tmb_qwen3_engine *engine, tmb_speech *speech, const tmb_prompt *prompt,
                                tmb_error *error) {
    /* What the piece before left goes. */
    tmb_status status = engine->backend->sequence_fork(engine->net, speech->sequence, speech->sequence, 0, error);
    return status == TMB_OK ? engine->backend->prefill(engine->net, speech->sequence, prompt, 0, prompt->shared, error)
                            : status;
}

/* The rows that are the same for every text of this voice, from memory if another utterance has had them. */
static tmb_status prefill_shared(tmb_qwen3_engine *engine, tmb_speech *speech, const tmb_prompt *prompt,
                                 tmb_error *error) {
    const tmb_qwen3_backend *backend = engine->backend;
    tmb_prefix_key key = {speech->language, speech->non_streaming, speech->in_context};
    if (tmb_voice_memory_get_prefix(engine->memory, speech->fingerprint, &key, prompt->shared, speech->sequence)) {
        return TMB_OK;
    }
    if (!tmb_voice_memory_make_room_for_prefix(engine->memory, speech->fingerprint, prompt->shared)) {
        return prefill_whole(engine, speech, prompt, error);
    }
    tmb_net_sequence *prefix = NULL;
    tmb_status status = backend->sequence_create(engine->net, prompt->shared, &prefix, error);
    if (status == TMB_OK) {
        status = backend->prefill(engine->net, prefix, prompt, 0, prompt->shared, error);
    }
    if (status == TMB_OK) {
        status = backend->sequence_fork(engine->net, speech->sequence, prefix, prompt->shared, error);
    }
    if (status != TMB_OK) {
        backend->sequence_destroy(engine->net, &prefix);
        return status;
    }
    tmb_voice_memory_put_prefix(engine->memory, speech->fingerprint, &key, prefix);
    return TMB_OK;
}

tmb_status tmb_speech_begin_piece(tmb_qwen3_engine *engine, tmb_speech *speech, tmb_error *error) {
    const tmb_speech_piece *piece = &speech->pieces[speech->piece];
    tmb_prompt prompt = {0};
    tmb_status status = build_prompt(engine, speech, &prompt, error);
    if (status != TMB_OK) {
        return status;
    }
    size_t letters = tmb_speech_letters(speech->text + piece->begin, piece->end - piece->begin);
    speech->budget = speech->guard ? tmb_speech_budget(letters) : 0;
    size_t left = speech->frame_limit - speech->frames;
    left = left < speech->piece_limit ? left : speech->piece_limit;
    if (speech->sequence == NULL) {
        size_t room = tmb_speech_budget(letters) < left ? tmb_speech_budget(letters) : left;
        status = engine->backend->sequence_create(engine->net, prompt.count + room, &speech->sequence, error);
    }
    if (status == TMB_OK) {
        status = prefill_shared(engine, speech, &prompt, error);
    }
    if (status == TMB_OK) {
        status = engine->backend->prefill(engine->net, speech->sequence, &prompt, prompt.shared,
                                          prompt.count - prompt.shared, error);
    }
    if (status == TMB_OK) {
        tmb_lm_sampling sampling = speech->sampling;
        sampling.seed = tmb_rules_piece_seed(speech->seed, speech->piece, speech->retries);
        sampling.max_new_tokens = left + 1;
        status = engine->backend->begin(engine->net, speech->sequence, &sampling, &prompt, error);
        speech->piece_begin = speech->frames;
    }
    tmb_prompt_free(&prompt);
    return status;
}

/* ---- The whole -------------------------------------------------------------------------------- */

static tmb_status prepare_codec(tmb_qwen3_engine *engine, tmb_speech *speech, tmb_error *error) {
    const tmb_qwen3_voice *voice = (const tmb_qwen3_voice *)speech->voice;
    tmb_status status = engine->backend->stream_create(engine->net, &speech->stream, error);
    if (status != TMB_OK || !speech->in_context) {
        return status;
    }
    speech->reference_frames = voice->frames;
    speech->reference_left = tmb_codec_reference_frames(voice->frames, engine->official);
    speech->hold_back = engine->official;
    return TMB_OK;
}

tmb_status tmb_speech_create(tmb_qwen3_engine *engine, const tmb_speak_request *request, tmb_voice *voice,
                             tmb_speech **out, tmb_error *error) {
    *out = NULL;
    if (request->text == NULL) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "there is no text");
    }
    tmb_speech *speech = tmb_calloc(1, sizeof *speech);
    if (speech == NULL) {
        return tmb_fail_memory(error, "an utterance", sizeof *speech);
    }
    speech->text = tmb_strdup(request->text);
    tmb_status status = speech->text == NULL ? tmb_fail_memory(error, "a text", 0) : TMB_OK;
    if (status != TMB_OK || (status = read_settings(engine, request, speech, error)) != TMB_OK ||
        (status = tmb_speech_set_who(engine, request, voice, speech, error)) != TMB_OK ||
        (status = make_pieces(request, speech, error)) != TMB_OK ||
        (status = prepare_codec(engine, speech, error)) != TMB_OK) {
        tmb_speech_destroy(engine, &speech);
        return status;
    }
    widen_limit(engine, request, speech);
    size_t letters = tmb_speech_letters(speech->text, strlen(speech->text));
    speech->expected =
        tmb_speech_expected(letters) < speech->frame_limit ? tmb_speech_expected(letters) : speech->frame_limit;
    speech->capacity =
        tmb_speech_budget(letters) < speech->frame_limit ? tmb_speech_budget(letters) : speech->frame_limit;
    speech->codes = tmb_calloc(speech->capacity, engine->model.config.talker.code_groups * sizeof *speech->codes);
    /* Pieces without words are silence only; an empty text as a whole is spoken, as officially. */
    while (speech->text[0] != '\0' && speech->piece < speech->piece_count &&
           speech->pieces[speech->piece].begin == speech->pieces[speech->piece].end) {
        speech->pieces[speech->piece++].done = true;
    }
    speech->finished = speech->piece == speech->piece_count;
    if (speech->codes == NULL) {
        status = tmb_fail_memory(error, "an utterance's codes", speech->capacity * 32);
        tmb_speech_destroy(engine, &speech);
        return status;
    }
    *out = speech;
    return TMB_OK;
}

void tmb_speech_destroy(const tmb_qwen3_engine *engine, tmb_speech **speech_address) {
    tmb_speech *speech = *speech_address;
    *speech_address = NULL;
    if (speech == NULL) {
        return;
    }
    for (size_t i = 0; speech->segment_texts != NULL && i < speech->piece_count; i++) {
        free(speech->segment_texts[i]);
    }
    engine->backend->sequence_destroy(engine->net, &speech->sequence);
    engine->backend->stream_destroy(engine->net, &speech->stream);
    tmb_voice_release(&speech->voice);
    free(speech->text);
    free(speech->instruct);
    free(speech->pieces);
    free(speech->segments);
    free(speech->segment_texts);
    free(speech->codes);
    free(speech->audio);
    free(speech);
}

size_t tmb_speech_bytes(const tmb_qwen3_engine *engine, const tmb_speak_request *request, const tmb_qwen3_voice *voice,
                        size_t *device) {
    const tmb_qwen3_model *model = &engine->model;
    size_t text = request->text == NULL ? 0 : strlen(request->text);
    size_t letters = request->text == NULL ? 0 : tmb_speech_letters(request->text, text);
    size_t frames = tmb_speech_budget(letters);
    size_t limit = request->max_frames > 0 ? (size_t)request->max_frames : model->config.generation.max_new_tokens;
    /* If a text is split, one piece at a time is in the sequence. */
    bool split = request->split_length > 0 && letters > request->split_length;
    size_t said = split ? request->split_length : letters;
    if (split && request->max_frames == 0) {
        limit = SIZE_MAX / 2;
    }
    double most = request->max_seconds * frames_per_second(engine);
    if (most > 0 && most < (double)limit) {
        limit = (size_t)most + 1;
    }
    frames = frames < limit ? frames : limit;
    bool in_context = voice != NULL && voice->frames > 0 && !request->x_vector_only;
    size_t transcript = in_context && voice->text != NULL ? strlen(voice->text) : 0;
    /* Tokens are two bytes at least in all but hostile texts. */
    size_t instruct = request->instruct == NULL ? 0 : strlen(request->instruct);
    size_t instruct_rows = instruct == 0 ? 0 : instruct / 2 + INSTRUCT_TEMPLATE_IDS;
    size_t piece = split && text > 4 * said + PIECE_MARKS ? 4 * said + PIECE_MARKS : text;
    size_t piece_frames = tmb_speech_budget(said) < frames ? tmb_speech_budget(said) : frames;
    size_t rows = tmb_prompt_rows_max(instruct_rows, piece / 2 + 1, transcript / 2 + 1, in_context ? voice->frames : 0);
    if (device != NULL) {
        *device = engine->backend->sequence_bytes(engine->net, rows + piece_frames).device +
                  engine->backend->stream_bytes(engine->net).device;
    }
    size_t sequence = engine->backend->sequence_bytes(engine->net, rows + piece_frames).host;
    /* The prompt's rows live while it is prefilled, text embeddings beside them. */
    size_t prompt =
        2 * (rows + piece + transcript + instruct) * model->config.talker.transformer.hidden_size * sizeof(float);
    size_t audio = engine->official && in_context ? frames * model->config.codec.samples_per_frame * sizeof(float) : 0;
    size_t rest = engine->backend->stream_bytes(engine->net).host + prompt + audio +
                  frames * 2 * model->config.talker.code_groups + text;
    size_t bytes = 0;
    return tmb_add_size(sequence, rest, &bytes) ? bytes : SIZE_MAX;
}
