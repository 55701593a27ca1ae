/* What answers each route. */
#ifndef TMB_SERVER_HANDLERS_H
#define TMB_SERVER_HANDLERS_H

#include "server/request.h"

void tmb_handle_voice_clone(tmb_request *request);
void tmb_handle_voice_clone_enhanced(tmb_request *request);
void tmb_handle_custom_voice(tmb_request *request);
void tmb_handle_voice_design(tmb_request *request);

void tmb_handle_file_upload(tmb_request *request);
void tmb_handle_file_get(tmb_request *request);
void tmb_handle_file_delete(tmb_request *request);

void tmb_handle_enhance(tmb_request *request);
void tmb_handle_transcribe(tmb_request *request);

void tmb_handle_models_known(tmb_request *request);
void tmb_handle_models_pull(tmb_request *request);
void tmb_handle_models_stop(tmb_request *request);

void tmb_handle_voices_list(tmb_request *request);
void tmb_handle_voice_create(tmb_request *request);
void tmb_handle_voice_design_store(tmb_request *request);
void tmb_handle_voice_get(tmb_request *request);
void tmb_handle_voice_audio(tmb_request *request);
void tmb_handle_voice_delete(tmb_request *request);

void tmb_handle_queue_list(tmb_request *request);
void tmb_handle_queue_submit(tmb_request *request);
void tmb_handle_queue_status(tmb_request *request);
void tmb_handle_queue_results(tmb_request *request);
void tmb_handle_queue_delete(tmb_request *request);

void tmb_handle_speech(tmb_request *request);
void tmb_handle_models(tmb_request *request);
void tmb_handle_model(tmb_request *request);
void tmb_handle_audio_models(tmb_request *request);
void tmb_handle_openai_voices(tmb_request *request);
void tmb_handle_openai_voice_create(tmb_request *request);

void tmb_handle_live(tmb_request *request);
void tmb_handle_ready(tmb_request *request);
void tmb_handle_metrics(tmb_request *request);
void tmb_handle_openapi(tmb_request *request);
void tmb_handle_asset(tmb_request *request); /* the page and its parts, by path */

/* Answers with an open file: ranges, ETag. Takes the descriptor. */
void tmb_answer_file(tmb_request *request, int descriptor, const tmb_file_info *info);

#endif
