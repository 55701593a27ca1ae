/* Any rates, lengths and cuts: the length is exact, and cutting changes nothing. */
#include "fuzz.h"

#include "resample/ratio.h"
#include "resample/resample.h"

#define MAX_OUTPUT 200000
/* Larger filters are legal but take seconds to design. */
#define MAX_RATIO 2000

static const int common_rates[] = {8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 88200, 96000, 192000};

static int take_rate(fuzz_input *input) {
    const size_t choice = (size_t)fuzz_take(input, 1);
    const size_t count = sizeof common_rates / sizeof common_rates[0];
    return choice < 16 * count ? common_rates[choice % count] : (int)(fuzz_take(input, 3) % 800000);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_input input = {data, size};
    const int input_rate = take_rate(&input);
    const int output_rate = take_rate(&input);
    const tmb_resampler_kind kind = (tmb_resampler_kind)(fuzz_take(&input, 1) % 5);
    const uint64_t cuts = fuzz_take(&input, 4);
    const size_t repeat = (size_t)fuzz_take(&input, 1) + 1; /* long signals from short inputs */

    tmb_resampler *resampler = NULL;
    tmb_error error = {0};
    if (input_rate < 1 || output_rate < 1) {
        fuzz_check(tmb_resampler_create(input_rate, output_rate, kind, NULL, &resampler, &error) == TMB_ERROR_ARGUMENT);
        return 0;
    }
    size_t up = 0, down = 0;
    tmb_ratio(input_rate, output_rate, &up, &down);
    if (up > MAX_RATIO || down > MAX_RATIO) {
        return 0;
    }
    const size_t base = input.size / 2;
    const size_t count = base * repeat;
    if (tmb_resampler_output_length(TMB_RESAMPLER_SINC, input_rate, output_rate, count) > MAX_OUTPUT ||
        count > MAX_OUTPUT) {
        return 0;
    }
    float *samples = malloc((count + 1) * sizeof(float));
    fuzz_check(samples != NULL);
    for (size_t i = 0; i < count; i++) {
        const size_t place = i % base;
        samples[i] = (float)(int16_t)(input.data[2 * place] | input.data[2 * place + 1] << 8) / 32768;
    }

    float *whole = NULL;
    size_t whole_count = 0;
    const tmb_status status =
        tmb_resample(samples, count, input_rate, output_rate, kind, NULL, &whole, &whole_count, &error);
    if (status != TMB_OK) {
        fuzz_check(kind > TMB_RESAMPLER_SINC || input_rate > 768000 || output_rate > 768000);
        fuzz_check(error.message[0] != '\0' && whole == NULL);
        free(samples);
        return 0;
    }
    fuzz_check(whole_count == tmb_resampler_output_length(kind, input_rate, output_rate, count));

    fuzz_check(tmb_resampler_create(input_rate, output_rate, kind, NULL, &resampler, &error) == TMB_OK);
    float *out = malloc((whole_count + 1) * sizeof(float));
    fuzz_check(out != NULL);
    size_t done = 0;
    uint64_t random = cuts;
    for (size_t place = 0; place < count;) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        size_t piece = 1 + (size_t)(random >> 40) % ((random >> 36 & 3) == 0 ? 9000 : 60);
        piece = piece < count - place ? piece : count - place;
        fuzz_check(tmb_resampler_push(resampler, samples + place, piece, &error) == TMB_OK);
        place += piece;
        done += tmb_resampler_pull(resampler, out + done, whole_count - done);
    }
    fuzz_check(tmb_resampler_flush(resampler, &error) == TMB_OK);
    done += tmb_resampler_pull(resampler, out + done, whole_count + 1 - done);
    fuzz_check(done == whole_count);
    fuzz_check(memcmp(out, whole, whole_count * sizeof(float)) == 0);
    tmb_resampler_destroy(&resampler);
    free(out);
    free(whole);
    free(samples);
    return 0;
}

void fuzz_seeds(fuzz_add_seed add) {
    for (uint8_t pair = 0; pair < 12; pair++) {
        for (uint8_t kind = 0; kind < 4; kind++) {
            uint8_t seed[8 + 240] = {pair, (uint8_t)((pair * 5 + 8) % 12), kind, 1, pair, kind, 0, 7};
            for (size_t i = 8; i < sizeof seed; i++) {
                seed[i] = (uint8_t)(i * 37 + pair);
            }
            add(seed, sizeof seed);
        }
    }
}
