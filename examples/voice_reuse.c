/* Saves a voice once and speaks with it afterwards: the recording is cleaned and encoded a single time,
 * and whoever has the voice file needs the recording no more.
 *
 *   voice_reuse MODEL REF REF_TEXT VOICE_FILE TEXT OUT
 *
 * MODEL is the folder of a Qwen3-TTS Base checkpoint, or 0.6b or 1.7b once that is pulled.
 */
#include <timbre/timbre.h>

#include <stdio.h>

/* Where the audio goes while it is made. */
typedef struct spoken_file {
    const char *path;
    tmb_audio_writer *writer;
    tmb_error error;
} spoken_file;

static bool on_audio(void *user, uint64_t item, const float *samples, size_t count, int rate) {
    (void)item;
    spoken_file *speech = user;
    if (speech->writer == NULL && tmb_audio_create(speech->path, TMB_CONTAINER_AUTO, TMB_ENCODING_S16, rate, 1,
                                                   &speech->writer, &speech->error) != TMB_OK) {
        return false;
    }
    return tmb_audio_write(speech->writer, samples, count, &speech->error) == TMB_OK;
}

static void on_result(void *user, const tmb_clone_result *result) {
    spoken_file *speech = user;
    /* A failure of the writer cancelled the item; it says more than the cancellation. */
    if (speech->error.status == TMB_OK) {
        speech->error = result->error;
    }
}

static tmb_status speak(tmb_context *context, const char *voice, const char *text, const char *path, tmb_error *error) {
    spoken_file speech = {.path = path};
    tmb_clone_callbacks callbacks = {.user = &speech, .audio = on_audio, .result = on_result};
    tmb_clone_request request;
    tmb_clone_request_default(&request);
    request.voice = voice;
    request.text = text;
    request.max_seconds = 30;
    request.want_samples = false;
    tmb_status status = tmb_clone_submit(context, &request, &callbacks, NULL, error);
    if (status != TMB_OK) {
        return status;
    }
    tmb_clone_wait(context);
    if (speech.error.status == TMB_OK && speech.writer != NULL) {
        tmb_audio_finish(&speech.writer, &speech.error);
    }
    tmb_audio_abort(&speech.writer);
    *error = speech.error;
    return error->status;
}

int main(int argc, char **argv) {
    if (argc != 7) {
        fprintf(stderr, "usage: voice_reuse MODEL REF REF_TEXT VOICE_FILE TEXT OUT\n");
        return 2;
    }
    const char *model = argv[1], *ref = argv[2], *ref_text = argv[3], *voice = argv[4], *text = argv[5], *out = argv[6];
    tmb_options options;
    tmb_options_default(&options);
    options.engine = "qwen3";
    options.model = model;

    tmb_context *context = NULL;
    tmb_error error = {.status = TMB_OK};
    tmb_status status = tmb_open(&options, &context, &error);
    if (status == TMB_OK) {
        tmb_clone_request request;
        tmb_clone_request_default(&request);
        request.ref_audio = ref;
        request.ref_text = ref_text;
        status = tmb_voice_save(context, &request, voice, &error);
    }
    if (status == TMB_OK) {
        status = speak(context, voice, text, out, &error);
    }
    tmb_close(&context);
    if (status != TMB_OK) {
        fprintf(stderr, "voice_reuse: %s\n", error.message);
        return 1;
    }
    return 0;
}
