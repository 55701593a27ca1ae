/* Any text as config.ini: refused with a message, or settings that hold together. */
#include "fuzz.h"

#include "enhance/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    tmb_dfn_config config;
    tmb_error error = {0};
    if (tmb_dfn_config_parse((const char *)data, size, &config, &error) != TMB_OK) {
        fuzz_check(error.status != TMB_OK && error.message[0] != '\0');
        return 0;
    }
    fuzz_check(config.fft_size >= 2 * config.hop && config.hop > 0 && config.bins == config.fft_size / 2 + 1);
    fuzz_check(config.df_bins <= config.bins && config.lookahead < config.df_order);
    fuzz_check(config.alpha >= 0 && config.alpha <= 1);
    fuzz_check(config.band_edges[0] == 0 && config.band_edges[config.erb_bands] == config.bins);
    for (size_t band = 0; band < config.erb_bands; band++) {
        fuzz_check(config.band_edges[band] < config.band_edges[band + 1]);
    }
    return 0;
}

void fuzz_seeds(fuzz_add_seed add) {
    static const char text[] =
        "[train]\nmodel = deepfilternet3\n[df]\nsr = 48000\nfft_size = 960\nhop_size = 480\nnb_erb = 32\n"
        "nb_df = 96\nnorm_tau = 1\nlsnr_max = 35\nlsnr_min = -15\nmin_nb_erb_freqs = 2\ndf_order = 5\n"
        "df_lookahead = 2\n[deepfilternet]\nconv_lookahead = 2\nconv_ch = 64\nemb_hidden_dim = 256\n"
        "emb_num_layers = 3\ndf_hidden_dim = 256\ndf_num_layers = 2\ndf_pathway_kernel_size_t = 5\n";
    add(text, sizeof text - 1);
}
