/* flite with word times. Reads "voice<TAB>stretch<TAB>pitch shift<TAB>text" lines; for each it writes
   int32 samples, int32 rate, int32 words, then (float start, float end) for each word, then int16 samples.
   A line that cannot be spoken gives three zeros. */
#include <flite/flite.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VOICES 5
#define MAX_WORDS 512

cst_voice *register_cmu_us_kal(const char *);
cst_voice *register_cmu_us_kal16(const char *);
cst_voice *register_cmu_us_awb(const char *);
cst_voice *register_cmu_us_rms(const char *);
cst_voice *register_cmu_us_slt(const char *);

/* A word starts where the segment before its first one ends. */
static float word_start(cst_item *word)
{
    cst_item *first = path_to_item(word, "R:SylStructure.daughter1.daughter1.R:Segment");
    if (!first) return -1;
    cst_item *before = item_prev(first);
    return before ? item_feat_float(before, "end") : 0;
}

static float word_end(cst_item *word)
{
    cst_item *last = path_to_item(word, "R:SylStructure.daughtern.daughtern.R:Segment");
    return last ? item_feat_float(last, "end") : -1;
}

/* One token of the text may be read as several words: "o'clock", "42". */
static int token_times(cst_utterance *u, float times[MAX_WORDS][2])
{
    int n = 0;
    for (cst_item *token = relation_head(utt_relation(u, "Token")); token && n < MAX_WORDS; token = item_next(token)) {
        float start = -1, end = -1;
        for (cst_item *d = item_daughter(token); d; d = item_next(d)) {
            cst_item *word = item_as(d, "Word");
            if (!word) continue;
            float a = word_start(word), z = word_end(word);
            if (a >= 0 && start < 0) start = a;
            if (z >= 0) end = z;
        }
        times[n][0] = start;
        times[n][1] = end;
        n++;
    }
    return n;
}

static void speak(cst_voice *voice, const char *stretch, const char *shift, const char *text)
{
    static float times[MAX_WORDS][2];
    int32_t head[3] = {0, 0, 0};
    cst_utterance *u = NULL;
    cst_wave *wave = NULL;
    if (voice && text) {
        feat_set_float(voice->features, "duration_stretch", atof(stretch));
        feat_set_float(voice->features, "f0_shift", atof(shift));
        u = flite_synth_text(text, voice);
        wave = u ? utt_wave(u) : NULL;
    }
    if (wave) {
        head[0] = wave->num_samples * wave->num_channels;
        head[1] = wave->sample_rate;
        head[2] = token_times(u, times);
    }
    fwrite(head, 4, 3, stdout);
    if (wave) {
        fwrite(times, 8, head[2], stdout);
        fwrite(wave->samples, 2, head[0], stdout);
    }
    fflush(stdout);
    if (u) delete_utterance(u);
}

int main(void)
{
    static char line[8192];
    flite_init();
    struct { const char *name; cst_voice *voice; } voices[VOICES] = {
        {"kal", register_cmu_us_kal(NULL)}, {"kal16", register_cmu_us_kal16(NULL)}, {"awb", register_cmu_us_awb(NULL)},
        {"rms", register_cmu_us_rms(NULL)}, {"slt", register_cmu_us_slt(NULL)}};
    while (fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\n")] = 0;
        char *name = strtok(line, "\t"), *stretch = strtok(NULL, "\t"), *shift = strtok(NULL, "\t"), *text = strtok(NULL, "\t");
        cst_voice *voice = NULL;
        for (int i = 0; name && i < VOICES; i++)
            if (!strcmp(name, voices[i].name)) voice = voices[i].voice;
        speak(voice, stretch, shift, text);
    }
    return 0;
}
