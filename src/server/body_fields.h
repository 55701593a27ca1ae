/* The fields of request bodies and query strings, by route. Those that describe an item of speech are made from the
 * library's table (tmb_clone_fields), so that the command, batch files and HTTP agree. */
#ifndef TMB_SERVER_BODY_FIELDS_H
#define TMB_SERVER_BODY_FIELDS_H

#include "server/fields.h"

enum { TMB_BODY_FIELDS_MAX = 48 };

/* Filled by tmb_body_fields_init. */
extern tmb_field tmb_clone_body[TMB_BODY_FIELDS_MAX], tmb_clone_enhanced_body[TMB_BODY_FIELDS_MAX];
extern tmb_field tmb_clone_form[TMB_BODY_FIELDS_MAX], tmb_clone_enhanced_form[TMB_BODY_FIELDS_MAX];
extern tmb_field tmb_job_item_body[TMB_BODY_FIELDS_MAX], tmb_speech_body[TMB_BODY_FIELDS_MAX];

extern tmb_field tmb_custom_voice_body[TMB_BODY_FIELDS_MAX], tmb_voice_design_body[TMB_BODY_FIELDS_MAX];
/* The fields of POST /api/v1/voices/design. */
extern tmb_field tmb_voice_design_store_body[TMB_BODY_FIELDS_MAX];

extern tmb_field tmb_enhance_form[TMB_BODY_FIELDS_MAX];
extern const tmb_field tmb_transcribe_form[], tmb_pull_body[];

extern const tmb_field tmb_upload_form[], tmb_upload_query[], tmb_enhance_query[], tmb_voice_body[];
extern const tmb_field tmb_openai_voice_form[], tmb_queue_body[], tmb_results_query[], tmb_voices_query[];

/* Before the first request is checked; once, any thread. */
void tmb_body_fields_init(void);

#endif
