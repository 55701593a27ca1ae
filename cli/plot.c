#include "shared.h"
#include "spectrogram.h"

#include <errno.h>
#include <math.h>
#include <png.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Everything in points. Text is drawn at twice the font's size. */
enum {
    TEXT = 2,
    LEFT = 74,  /* frequencies */
    RIGHT = 96, /* colour scale */
    TOP = 30,
    GAP = 44, /* between the two, with the title of the second */
    BOTTOM = 44,
    PANEL_WIDTH = CLI_SPECTROGRAM_WIDTH,
    PANEL_HEIGHT = CLI_SPECTROGRAM_ROWS,
    IMAGE_WIDTH = LEFT + PANEL_WIDTH + RIGHT,
    IMAGE_HEIGHT = TOP + PANEL_HEIGHT + GAP + PANEL_HEIGHT + BOTTOM,
    LEVELS = 240, /* colours of the scale; above them: */
    PAPER = 240,
    INK = 241,
    LINE = 242,
    COLOURS = 243
};

static const double range_db = 80;

typedef struct picture {
    unsigned char points[IMAGE_HEIGHT][IMAGE_WIDTH];
} picture;

static void draw_text(picture *p, int x, int y, const char *text) {
    for (; *text != '\0'; text++, x += TEXT * (CLI_FONT_WIDTH + 1)) {
        for (int row = 0; row < TEXT * CLI_FONT_HEIGHT; row++) {
            unsigned bits = cli_font_row(*text, row / TEXT);
            for (int column = 0; column < TEXT * CLI_FONT_WIDTH; column++) {
                if ((bits >> (CLI_FONT_WIDTH - 1 - column / TEXT) & 1) != 0 && y + row >= 0 && y + row < IMAGE_HEIGHT &&
                    x + column >= 0 && x + column < IMAGE_WIDTH) {
                    p->points[y + row][x + column] = INK;
                }
            }
        }
    }
}

static int text_width(const char *text) { return TEXT * ((CLI_FONT_WIDTH + 1) * (int)strlen(text) - 1); }

static void draw_centred(picture *p, int x, int y, const char *text) {
    draw_text(p, x - text_width(text) / 2, y, text);
}

static void draw_right(picture *p, int x, int y, const char *text) { draw_text(p, x - text_width(text), y, text); }

static double power_db(float power) { return 10 * log10((double)power + 1e-14); }

/* The loudest cell but a thousandth of them: one click must not darken everything else. */
static double peak_db(const cli_spectrogram *s) {
    enum { BINS = 400 };
    size_t counts[BINS] = {0}, total = 0, seen = 0;
    double seconds;
    size_t columns = cli_spectrogram_columns(s, &seconds);
    for (size_t c = 0; c < columns; c++) {
        for (size_t r = 0; r < CLI_SPECTROGRAM_ROWS; r++) {
            double bin = 2 * (power_db(cli_spectrogram_power(s, c, r)) + 150);
            counts[bin < 0 ? 0 : bin >= BINS ? BINS - 1 : (int)bin]++;
            total++;
        }
    }
    for (int b = BINS - 1; b >= 0; b--) {
        seen += counts[b];
        if (seen * 1000 > total) {
            return b / 2.0 - 150;
        }
    }
    return 0;
}

static void draw_panel(picture *p, const cli_spectrogram *s, int top, double seconds, double loudest) {
    double column_seconds;
    size_t columns = cli_spectrogram_columns(s, &column_seconds);
    for (int x = 0; x < PANEL_WIDTH; x++) {
        double at = seconds * (x + 0.5) / PANEL_WIDTH / column_seconds;
        if (!(at < (double)columns)) {
            continue;
        }
        for (int y = 0; y < PANEL_HEIGHT; y++) {
            size_t row = (size_t)(PANEL_HEIGHT - 1 - y);
            double level = (power_db(cli_spectrogram_power(s, (size_t)at, row)) - loudest) / range_db + 1;
            p->points[top + y][LEFT + x] = (unsigned char)(level <= 0 ? 0 : level >= 1 ? LEVELS - 1 : level * LEVELS);
        }
    }
}

static void draw_frequencies(picture *p, int top, double highest) {
    double step = 1000;
    char text[24];
    while (highest / step > 6) {
        step = step < 1500 ? 2000 : step < 3000 ? 4000 : 2 * step;
    }
    for (double f = 0; f <= highest + 1; f += step) {
        int y = top + PANEL_HEIGHT - (int)(PANEL_HEIGHT * f / highest + 0.5);
        for (int x = LEFT - 8; x < LEFT - 2; x++) {
            p->points[y][x] = LINE;
        }
        (void)snprintf(text, sizeof text, "%.0f", f / 1000);
        draw_right(p, LEFT - 12, y - CLI_FONT_HEIGHT, text);
    }
    draw_right(p, LEFT - 12, top - 8 - TEXT * CLI_FONT_HEIGHT, "kHz");
}

static void draw_times(picture *p, double seconds) {
    static const double steps[] = {0.1, 0.2, 0.5, 1,    2,    5,    10,   20,    30,   60,
                                   120, 300, 600, 1200, 1800, 3600, 7200, 18000, 36000};
    size_t i = 0;
    int y = IMAGE_HEIGHT - BOTTOM;
    char text[40];
    while (i + 1 < sizeof steps / sizeof *steps && seconds / steps[i] > 11) {
        i++;
    }
    for (size_t tick = 0; tick < 200 && (double)tick * steps[i] <= seconds * 1.0001; tick++) {
        double t = (double)tick * steps[i];
        int x = LEFT + (int)(PANEL_WIDTH * t / seconds);
        for (int dy = 2; dy < 8; dy++) {
            p->points[y + dy][x < LEFT + PANEL_WIDTH ? x : LEFT + PANEL_WIDTH - 1] = LINE;
        }
        if (steps[i] >= 60) {
            (void)cli_format_time(t, text, sizeof text);
        } else {
            (void)snprintf(text, sizeof text, steps[i] < 1 ? "%.1f" : "%.0f", t);
        }
        draw_centred(p, x, y + 12, text);
    }
    (void)snprintf(text, sizeof text, "%s", steps[i] < 60 ? "s" : steps[i] < 3600 ? "min" : "h");
    draw_text(p, LEFT + PANEL_WIDTH + 24, y + 12, text);
}

static void draw_scale(picture *p) {
    enum { WIDTH = 14 };
    int top = TOP, height = IMAGE_HEIGHT - BOTTOM - TOP, x = LEFT + PANEL_WIDTH + 16;
    char text[16];
    for (int y = 0; y < height; y++) {
        memset(&p->points[top + y][x], (LEVELS - 1) * (height - 1 - y) / (height - 1), WIDTH);
    }
    for (int db = 0; db >= -(int)range_db; db -= 20) {
        (void)snprintf(text, sizeof text, "%d", db);
        draw_text(p, x + WIDTH + 6, top + (int)(-db / range_db * (height - 1)) - CLI_FONT_HEIGHT, text);
    }
    draw_text(p, x, 6, "dB");
}

/* From black through blue, violet and orange to a pale yellow: lightness rises evenly, so that the
 * picture reads in grey as well. */
static void fill_palette(png_color *palette) {
    static const double stops[][4] = {{0, 5, 5, 16},       {0.2, 36, 20, 84},   {0.4, 110, 30, 120},
                                      {0.6, 192, 58, 100}, {0.8, 244, 134, 74}, {1, 253, 240, 190}};
    for (int i = 0; i < LEVELS; i++) {
        double t = (double)i / (LEVELS - 1);
        size_t k = 0;
        while (t > stops[k + 1][0]) {
            k++;
        }
        double f = (t - stops[k][0]) / (stops[k + 1][0] - stops[k][0]);
        palette[i].red = (png_byte)(stops[k][1] + f * (stops[k + 1][1] - stops[k][1]) + 0.5);
        palette[i].green = (png_byte)(stops[k][2] + f * (stops[k + 1][2] - stops[k][2]) + 0.5);
        palette[i].blue = (png_byte)(stops[k][3] + f * (stops[k + 1][3] - stops[k][3]) + 0.5);
    }
    palette[PAPER] = (png_color){255, 255, 255};
    palette[INK] = (png_color){32, 32, 40};
    palette[LINE] = (png_color){128, 128, 136};
}

static bool encode(FILE *file, picture *p, const png_color *palette) {
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png != NULL ? png_create_info_struct(png) : NULL;
    if (info == NULL) {
        png_destroy_write_struct(&png, NULL);
        return false;
    }
    if (setjmp(png_jmpbuf(png)) != 0) {
        png_destroy_write_struct(&png, &info);
        return false;
    }
    png_init_io(png, file);
    png_set_IHDR(png, info, IMAGE_WIDTH, IMAGE_HEIGHT, 8, PNG_COLOR_TYPE_PALETTE, PNG_INTERLACE_NONE,
                 PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    png_set_PLTE(png, info, palette, COLOURS);
    png_set_compression_level(png, 9);
    png_write_info(png, info);
    for (int y = 0; y < IMAGE_HEIGHT; y++) {
        png_write_row(png, p->points[y]);
    }
    png_write_end(png, NULL);
    png_destroy_write_struct(&png, &info);
    return true;
}

bool cli_plot_write(const char *path, const cli_spectrogram *before, const cli_spectrogram *after, tmb_error *error) {
    picture *p = malloc(sizeof *p);
    char *temporary = NULL;
    size_t size = 0;
    FILE *memory = p != NULL ? open_memstream(&temporary, &size) : NULL;
    png_color palette[COLOURS];
    bool written = false;
    if (memory != NULL) {
        double first, second, highest = cli_spectrogram_top(before);
        size_t columns = cli_spectrogram_columns(before, &first);
        double seconds = first * (double)columns;
        columns = cli_spectrogram_columns(after, &second);
        if (second * (double)columns > seconds) {
            seconds = second * (double)columns;
        }
        if (seconds <= 0) {
            seconds = 1;
        }
        double loudest = peak_db(before);
        memset(p, PAPER, sizeof *p);
        for (int panel = 0; panel < 2; panel++) {
            int top = panel == 0 ? TOP : TOP + PANEL_HEIGHT + GAP;
            for (int y = 0; y < PANEL_HEIGHT; y++) {
                memset(&p->points[top + y][LEFT], 0, PANEL_WIDTH);
            }
            draw_panel(p, panel == 0 ? before : after, top, seconds, loudest);
            draw_frequencies(p, top, highest);
            draw_text(p, LEFT, top - 8 - TEXT * CLI_FONT_HEIGHT, panel == 0 ? "before" : "after");
        }
        draw_times(p, seconds);
        draw_scale(p);
        fill_palette(palette);
        written = encode(memory, p, palette);
        written = fclose(memory) == 0 && written;
    }
    if (written) {
        written = cli_write_file(path, temporary, size, error);
    } else {
        cli_set_error(error, TMB_ERROR_MEMORY, "no memory for the picture");
    }
    free(temporary);
    free(p);
    return written;
}
