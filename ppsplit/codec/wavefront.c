/* The compiled core of the wavefront coder: the same bytes as wavefront.py, which says what is computed and why.
 *
 * Plain C with fixed-width integers and no dependency, called through ctypes. Bytes are assembled one by one, so the
 * processor's byte order does not matter; nothing here is floating point.
 */
#include <stdint.h>
#include <stdlib.h>

#define NEIGHBOURS 6
#define FEATURES 13
#define FRACTIONS 8
#define ROW 65 /* of the cumulative table: 64 symbols at most, and the end */
#define LAG 2
#define LANES 16
#define LOW 65536u
#define CAP 1023
#define LARGEST 32767
#define MAX_EXCESS_BYTES 3
#define ESCAPE_PRICE 2048 /* 8 bits, as most escapes have one byte */

enum { NO_MEMORY = -1, TOO_SHORT = -2, DAMAGED = -3 };

typedef struct {
    int32_t channels, height, width, bins;
    const int32_t *predict;    /* [channels][NEIGHBOURS], 1/256 */
    const int32_t *prior;      /* [channels], 1/4096 */
    const int32_t *weights;    /* [channels][FEATURES], 1/256 */
    const int32_t *thresholds; /* [bins - 1], ascending */
    const int32_t *radius;     /* [bins] */
    const int32_t *cumulative; /* [bins][FRACTIONS][ROW] */
    const int32_t *price;      /* [bins][FRACTIONS][ROW - 1], 1/256 bit */
} Model;

typedef struct {
    const int32_t *components; /* [channels][height][width], 1/256 step */
    const int32_t *worth;      /* [height][width], 1/256 */
    int64_t trade;             /* 1/65536 squared steps for a bit */
} Wish;

typedef struct {
    const Model *model;
    int32_t *values;    /* padded: 2 rows above, 2 columns left and right, all 0 */
    int32_t *residuals; /* the same, |value - mean| in 1/16, capped */
    int64_t plane;
    int32_t row;
} State;

typedef struct {
    int32_t centre, flip, mean;
    const int32_t *cumulative, *price;
    int32_t radius;
} Context;

static int open_state(State *state, const Model *model) {
    state->model = model;
    state->row = model->width + 4;
    state->plane = (int64_t)(model->height + 2) * state->row;
    state->values = calloc((size_t)(state->plane * model->channels), sizeof(int32_t));
    state->residuals = calloc((size_t)(state->plane * model->channels), sizeof(int32_t));
    return state->values && state->residuals;
}

static void close_state(State *state) {
    free(state->values);
    free(state->residuals);
}

static int32_t at_most(int32_t value, int32_t limit) { return value < limit ? value : limit; }

static int32_t magnitude(int32_t value) { return value < 0 ? -value : value; }

static int32_t floor_256(int32_t value) { return value >= 0 ? value / 256 : -((255 - value) / 256); }

/* How the element at padded index `at` of channel c is coded, from what was coded before it. */
static Context context_of(const State *state, int32_t c, int64_t at) {
    const Model *m = state->model;
    const int32_t *q = state->values + c * state->plane + at, *a = state->residuals + c * state->plane + at;
    const int64_t row = state->row, plane = state->plane;
    const int64_t places[NEIGHBOURS] = {-1, -row, -row - 1, -row + 1, -2, -2 * row};
    const int32_t *w = m->weights + (int64_t)c * FEATURES, *p = m->predict + (int64_t)c * NEIGHBOURS;
    int32_t mean = 0, energy = m->prior[c];
    Context found;
    for (int k = 0; k < NEIGHBOURS; k++) {
        mean += p[k] * q[places[k]];
        energy += w[k] * a[places[k]];
    }
    if (c >= 1) energy += w[6] * a[-plane] + w[10] * (a[-plane - 1] + a[-plane - row] + a[-plane + 1]);
    if (c >= 2) energy += w[7] * a[-2 * plane];
    for (int k = 3; k <= 8 && k <= c; k++) energy += w[k <= 4 ? 8 : 9] * a[-k * plane];
    energy += w[11] * at_most(magnitude(mean) / 16, CAP);
    energy += w[12] * at_most(16 * (magnitude(q[-1]) + magnitude(q[-row])), CAP);

    int32_t low = 0, high = m->bins - 1; /* how many thresholds are at most the energy */
    while (low < high) {
        int32_t middle = (low + high) / 2;
        if (m->thresholds[middle] <= energy) low = middle + 1;
        else high = middle;
    }
    found.mean = mean;
    found.centre = floor_256(mean + 128);
    int32_t fraction = mean - found.centre * 256;
    found.flip = fraction < 0;
    int64_t table = (int64_t)low * FRACTIONS + at_most(magnitude(fraction) / 16, 7);
    found.cumulative = m->cumulative + table * ROW;
    found.price = m->price + table * (ROW - 1);
    found.radius = m->radius[low];
    return found;
}

static void remember(State *state, int32_t c, int64_t at, int32_t value, int32_t mean) {
    int64_t place = c * state->plane + at;
    state->values[place] = value;
    state->residuals[place] = at_most(magnitude(256 * value - mean) / 16, CAP);
}

/* The channels that have an element in step t: from `first` to before `last`. */
static void channels_of(const Model *m, int64_t t, int64_t *first, int64_t *last) {
    int64_t count = (int64_t)m->height * m->width;
    *first = t < count ? 0 : (t - count) / LAG + 1;
    *last = t / LAG + 1 < m->channels ? t / LAG + 1 : m->channels;
}

static int64_t padded(const State *state, int64_t position) {
    int64_t width = state->model->width;
    return (position / width + 2) * state->row + position % width + 2;
}

static int32_t within_limits(int32_t value) {
    return value > LARGEST ? LARGEST : value < -LARGEST ? -LARGEST : value;
}

/* Of the integers around a component, 0 and the mean, the one whose error and bits together cost least. */
static int32_t cheapest(const Context *context, int32_t component, int32_t worth, int64_t trade) {
    int32_t near = within_limits(floor_256(component + 128)), beyond = component >= near * 256 ? near + 1 : near - 1;
    const int32_t tries[4] = {near, within_limits(beyond), 0, within_limits(context->centre)};
    int32_t best = near;
    int64_t least = INT64_MAX;
    for (int k = 0; k < 4; k++) {
        int64_t error = component - (int64_t)tries[k] * 256, cost = error * error * worth;
        if (cost >= least) continue;
        int32_t distance = context->flip ? context->centre - tries[k] : tries[k] - context->centre;
        int32_t radius = context->radius;
        if (distance >= radius) cost += trade * (context->price[2 * radius] + ESCAPE_PRICE);
        else if (distance <= -radius) cost += trade * (context->price[0] + ESCAPE_PRICE);
        else cost += trade * context->price[distance + radius];
        if (cost < least) {
            least = cost;
            best = tries[k];
        }
    }
    return best;
}

/* Bytes written to `out`, or a negative number. `values` is [channels][height][width], within +-LARGEST; where there
 * is a wish, they are chosen here. */
int64_t wavefront_encode(const Model *m, const Wish *wish, int32_t *values, uint8_t *out, int64_t capacity) {
    const int64_t count = (int64_t)m->height * m->width, total = count * m->channels;
    const int64_t lanes = m->channels < LANES ? m->channels : LANES;
    const int64_t steps = count + LAG * ((int64_t)m->channels - 1);
    State state;
    int64_t coded = 0, first, last, size = NO_MEMORY, words = 0, excess = 0;
    uint32_t *interval = malloc((size_t)total * sizeof(uint32_t)); /* start << 16 | frequency */
    uint16_t *emitted = malloc((size_t)total * sizeof(uint16_t)), *lane_of = malloc((size_t)total * sizeof(uint16_t));
    uint8_t *escapes = malloc((size_t)total * MAX_EXCESS_BYTES);
    uint32_t x[LANES];
    if (!open_state(&state, m) || !interval || !emitted || !lane_of || !escapes) goto done;

    for (int64_t t = 0; t < steps; t++) {
        channels_of(m, t, &first, &last);
        for (int64_t c = first; c < last; c++) {
            int64_t position = t - LAG * c, at = padded(&state, position);
            Context context = context_of(&state, (int32_t)c, at);
            int32_t *place = values + c * count + position;
            if (wish) *place = cheapest(&context, wish->components[c * count + position], wish->worth[position], wish->trade);
            int32_t value = *place;
            int32_t distance = value - context.centre;
            if (context.flip) distance = -distance;
            int32_t symbol = distance, radius = context.radius;
            if (magnitude(distance) >= radius) {
                int32_t rest = magnitude(distance) - radius;
                for (; rest >= 128; rest >>= 7) escapes[excess++] = (uint8_t)(rest & 127) | 128;
                escapes[excess++] = (uint8_t)rest;
                symbol = distance < 0 ? -radius : radius;
            }
            const int32_t *start = context.cumulative + symbol + radius;
            interval[coded] = (uint32_t)start[0] << 16 | (uint32_t)(start[1] - start[0]);
            lane_of[coded++] = (uint16_t)(c % lanes);
            remember(&state, (int32_t)c, at, value, context.mean);
        }
    }
    for (int k = 0; k < LANES; k++) x[k] = LOW;
    while (coded-- > 0) {
        uint32_t start = interval[coded] >> 16, frequency = interval[coded] & 65535, *lane = x + lane_of[coded];
        if (*lane >= (uint64_t)frequency << 16) {
            emitted[words++] = (uint16_t)(*lane & 65535);
            *lane >>= 16;
        }
        *lane = (*lane / frequency << 16) + *lane % frequency + start;
    }
    int64_t head = 0, rest = excess;
    if (capacity < 10 + excess + lanes * 4 + words * 2) {
        size = TOO_SHORT;
        goto done;
    }
    for (; rest >= 128; rest >>= 7) out[head++] = (uint8_t)(rest & 127) | 128;
    out[head++] = (uint8_t)rest;
    for (int64_t k = 0; k < excess; k++) out[head++] = escapes[k];
    for (int64_t k = 0; k < lanes * 4; k++) out[head++] = (uint8_t)(x[k / 4] >> 8 * (k % 4));
    while (words-- > 0) {
        out[head++] = (uint8_t)emitted[words];
        out[head++] = (uint8_t)(emitted[words] >> 8);
    }
    size = head;
done:
    close_state(&state);
    free(interval);
    free(emitted);
    free(lane_of);
    free(escapes);
    return size;
}

/* 0 once `values` is filled, or a negative number. Reads no byte outside `data`, whatever it holds. */
int64_t wavefront_decode(const Model *m, const uint8_t *escapes, int64_t excess, const uint8_t *data, int64_t size,
                         int32_t *values) {
    const int64_t count = (int64_t)m->height * m->width, lanes = m->channels < LANES ? m->channels : LANES;
    const int64_t steps = count + LAG * ((int64_t)m->channels - 1);
    int64_t first, last, head = lanes * 4, taken = 0, result = DAMAGED;
    uint32_t x[LANES];
    State state;
    if (size < head) return DAMAGED;
    if (!open_state(&state, m)) {
        close_state(&state);
        return NO_MEMORY;
    }
    for (int64_t k = 0; k < lanes; k++) {
        const uint8_t *b = data + 4 * k;
        x[k] = (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
        if (x[k] < LOW) goto done;
    }
    for (int64_t t = 0; t < steps; t++) {
        channels_of(m, t, &first, &last);
        for (int64_t c = first; c < last; c++) {
            int64_t position = t - LAG * c, at = padded(&state, position);
            Context context = context_of(&state, (int32_t)c, at);
            uint32_t *lane = x + c % lanes, slot = *lane & 65535;
            const int32_t *start = context.cumulative;
            while ((uint32_t)start[1] <= slot) start++;
            int32_t distance = (int32_t)(start - context.cumulative) - context.radius;
            *lane = (uint32_t)(start[1] - start[0]) * (*lane >> 16) + slot - (uint32_t)start[0];
            if (*lane < LOW) {
                if (head + 2 > size) goto done;
                *lane = *lane << 16 | data[head] | (uint32_t)data[head + 1] << 8;
                head += 2;
            }
            if (magnitude(distance) == context.radius) {
                int32_t rest = 0, shift = 0, byte = 128;
                for (; byte >= 128; shift += 7) {
                    if (taken >= excess || shift >= 7 * MAX_EXCESS_BYTES) goto done;
                    byte = escapes[taken++];
                    rest |= (byte & 127) << shift;
                }
                distance += distance < 0 ? -rest : rest;
            }
            int32_t value = context.centre + (context.flip ? -distance : distance);
            if (magnitude(value) > LARGEST) goto done;
            values[c * count + position] = value;
            remember(&state, (int32_t)c, at, value, context.mean);
        }
    }
    if (head != size || taken != excess) goto done;
    for (int64_t k = 0; k < lanes; k++)
        if (x[k] != LOW) goto done;
    result = 0;
done:
    close_state(&state);
    return result;
}
