/* Requests that wait for speech: all items' results in one answer, or audio as it is made. */
#ifndef TMB_SERVER_CLONE_H
#define TMB_SERVER_CLONE_H

#include "server/request.h"

typedef enum tmb_clone_mode {
    TMB_CLONE_COLLECT,      /* {"items": [...]} when all are done */
    TMB_CLONE_WHOLE,        /* the audio of one item, when it is complete: its head has true lengths */
    TMB_CLONE_AUDIO,        /* the audio of one item, while it is made */
    TMB_CLONE_EVENTS,       /* server-sent events: progress, audio, result, done */
    TMB_CLONE_SPEECH_EVENTS /* OpenAI's: speech.audio.delta, speech.audio.done */
} tmb_clone_mode;

typedef struct tmb_clone_options {
    tmb_clone_mode mode;
    bool enhanced;
    tmb_who who;
    const char *format; /* of the audio */
    int rate;           /* of the audio; 0 = as it is made */
    double speed;       /* of the speech; 0 = as it is made */
} tmb_clone_options;

/* Whether the request's Accept asks for audio rather than JSON. *format gets the name of the format it asks for, or
 * NULL if any will do. */
bool tmb_accepts_audio(const char *accept, const char **format);

/* Answers the request with what its `arguments` (checked) say. */
void tmb_clone_start(tmb_request *request, const tmb_clone_options *options);

#endif
