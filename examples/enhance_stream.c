/* Cleans a recording as a stream: ten milliseconds in, what is ready out, in constant memory.
 *
 *   enhance_stream IN OUT
 *
 * A microphone or a phone line in the place of the file makes it a live denoiser: with `low_latency` the
 * sound comes out 40 ms after it went in.
 */
#include <timbre/timbre.h>

#include <stdio.h>

enum { MAX_CHANNELS = 8, MAX_BLOCK = 192000 / 100 };

/* Hands everything that the stream has ready to the writer. */
static tmb_status drain(tmb_enhance_stream *stream, tmb_audio_writer *writer, tmb_error *error) {
    static float ready[MAX_BLOCK * MAX_CHANNELS];
    tmb_status status = TMB_OK;
    size_t count;
    while (status == TMB_OK && (count = tmb_enhance_pull(stream, ready, MAX_BLOCK)) > 0) {
        status = tmb_audio_write(writer, ready, count, error);
    }
    return status;
}

static tmb_status copy(tmb_audio_reader *reader, size_t block, tmb_enhance_stream *stream, tmb_audio_writer *writer,
                       tmb_error *error) {
    static float samples[MAX_BLOCK * MAX_CHANNELS];
    for (;;) {
        size_t count;
        tmb_status status = tmb_audio_read(reader, samples, block, &count, error);
        if (status == TMB_OK && count == 0) {
            break;
        }
        if (status == TMB_OK) {
            status = tmb_enhance_push(stream, samples, count, error);
        }
        if (status == TMB_OK) {
            status = drain(stream, writer, error);
        }
        if (status != TMB_OK) {
            return status;
        }
    }
    tmb_status status = tmb_enhance_flush(stream, error);
    return status == TMB_OK ? drain(stream, writer, error) : status;
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: enhance_stream IN OUT\n");
        return 2;
    }
    tmb_options options;
    tmb_options_default(&options);
    tmb_enhance_options enhance;
    tmb_enhance_options_default(&enhance);

    tmb_error error = {.status = TMB_OK};
    tmb_context *context = NULL;
    tmb_audio_reader *reader = NULL;
    tmb_audio_info info;
    tmb_enhance_stream *stream = NULL;
    tmb_audio_writer *writer = NULL;
    tmb_status status = tmb_open(&options, &context, &error);
    if (status == TMB_OK) {
        status = tmb_audio_open(argv[1], NULL, NULL, &reader, &info, &error);
    }
    if (status == TMB_OK) {
        enhance.input_rate = info.rate;
        enhance.channels = info.channels;
        enhance.low_latency = true;
        status = tmb_enhance_open(context, &enhance, &stream, &error);
    }
    if (status == TMB_OK) {
        status = tmb_audio_create(argv[2], TMB_CONTAINER_AUTO, TMB_ENCODING_S16, enhance.output_rate, info.channels,
                                  &writer, &error);
    }
    if (status == TMB_OK) {
        status = copy(reader, (size_t)info.rate / 100, stream, writer, &error);
    }
    if (status == TMB_OK) {
        status = tmb_audio_finish(&writer, &error);
    }
    tmb_audio_abort(&writer);
    tmb_enhance_close(&stream);
    tmb_audio_close(&reader);
    tmb_close(&context);
    if (status != TMB_OK) {
        fprintf(stderr, "enhance_stream: %s\n", error.message);
        return 1;
    }
    return 0;
}
