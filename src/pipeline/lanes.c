/* Which models are loaded: what is needed, within the memory budget, in turns if they do not fit together. */
#include "pipeline/scheduler_internal.h"

#include "base/error.h"

/* What a lane may be: with the lock held, on the scheduler's thread. */
static bool is_loaded(const tmb_lane *lane) { return lane->state == TMB_USE_READY; }
static bool has_model(const tmb_lane *lane) { return lane->state != TMB_USE_NONE; }
static bool is_blocked(const tmb_lane *lane) { return lane->blocked; }
static bool is_live(const tmb_lane *lane) { return lane->live_count != 0; }
static bool admits_into_nothing(const tmb_lane *lane) { return lane->admitting != NULL && lane->live_count == 0; }

static bool another(const tmb_lane *lane, bool (*is)(const tmb_lane *other)) {
    const tmb_scheduler *scheduler = lane->scheduler;
    for (size_t i = 0; i < scheduler->lane_count; i++) {
        const tmb_lane *other = &scheduler->lanes[i];
        if (other != lane && is(other)) {
            return true;
        }
    }
    return false;
}

static bool another_is_blocked(const tmb_lane *lane) { return another(lane, is_blocked); }

/* No other lane has a model or loads one. */
static bool is_alone(const tmb_lane *lane) { return !another(lane, has_model); }

bool tmb_lane_may_begin(const tmb_lane *lane) {
    return is_loaded(lane) && (lane->allowance > 0 || !another_is_blocked(lane));
}

void tmb_lane_began(tmb_lane *lane) {
    if (lane->allowance > 0 && another_is_blocked(lane)) {
        lane->allowance--;
    }
}

/* This lane finds no room for its model: the others may begin so many items more. */
static void block(tmb_lane *lane) {
    tmb_scheduler *scheduler = lane->scheduler;
    for (size_t i = 0; i < scheduler->lane_count; i++) {
        tmb_lane *other = &scheduler->lanes[i];
        if (other != lane && !another_is_blocked(other)) {
            other->allowance = TMB_LANE_SHARE * (other->max_batch > 0 ? other->max_batch : 1);
        }
    }
    if (!lane->blocked) {
        lane->blocked = true;
        lane->blocked_turn = ++scheduler->turns;
    }
}

/* ---- Loading; on a pool, since it may wait for memory ---- */

static void take_engine(tmb_lane *lane, tmb_engine *engine) {
    size_t most = engine->operations->max_sequences(engine);
    /* The speech servers' own limits bound what overflows. */
    bool is_overflow = lane == lane->scheduler->overflow;
    size_t wanted = is_overflow ? 0 : (size_t)lane->scheduler->context->options.max_batch;
    lane->engine = engine;
    lane->max_batch = wanted != 0 && wanted < most ? wanted : most;
    if (lane->max_batch > TMB_MAX_BATCH) {
        lane->max_batch = TMB_MAX_BATCH;
    }
    lane->state = TMB_USE_READY;
    lane->blocked = false;
}

static void load_engine(void *argument) {
    tmb_lane *lane = argument;
    tmb_scheduler *scheduler = lane->scheduler;
    tmb_error error = {0};
    tmb_engine *engine = NULL;
    bool no_room = false;
    /* A lane that is alone waits for its memory; otherwise it tries again when another has let its model go. */
    tmb_status status =
        tmb_registry_use_engine(&scheduler->context->registry, lane->index, lane->waits, &no_room, &engine, &error);
    (void)pthread_mutex_lock(&scheduler->lock);
    if (status == TMB_OK) {
        take_engine(lane, engine);
    } else {
        lane->state = TMB_USE_NONE;
        if (no_room) {
            block(lane);
        } else {
            lane->blocked = false;
            tmb_scheduler_fail_waiting(scheduler, lane, &error);
        }
    }
    bool warn = status == TMB_OK && !engine->operations->clones_voice && !lane->warned;
    lane->warned |= warn;
    (void)pthread_mutex_unlock(&scheduler->lock);
    if (warn) {
        tmb_log(&scheduler->context->logger, TMB_LOG_WARNING,
                "the %s engine speaks with a preview voice: it is no clone of the reference (for one: timbre pull "
                "qwen3-tts-0.6b)",
                engine->operations->name);
    }
    tmb_scheduler_wake(scheduler);
}

/* Whether trying again to load could help: somebody has let a model go since, or nobody else has one. */
static bool may_try(const tmb_lane *lane) {
    return !lane->blocked || lane->blocked_at != lane->scheduler->let_go || is_alone(lane);
}

/* The lane that is blocked longest, or NULL: no other may load before it, or who has just let go would be back first.
 */
static const tmb_lane *first_blocked(const tmb_scheduler *scheduler) {
    const tmb_lane *first = NULL;
    for (size_t i = 0; i < scheduler->lane_count; i++) {
        const tmb_lane *lane = &scheduler->lanes[i];
        if (lane->blocked && (first == NULL || lane->blocked_turn < first->blocked_turn)) {
            first = lane;
        }
    }
    return first;
}

void tmb_lanes_load(tmb_scheduler *scheduler) {
    for (size_t i = 0; i < scheduler->lane_count; i++) {
        tmb_lane *lane = &scheduler->lanes[i];
        lane->blocked &= lane->pending != 0;
    }
    const tmb_lane *first = first_blocked(scheduler);
    for (size_t i = 0; i < scheduler->lane_count; i++) {
        tmb_lane *lane = &scheduler->lanes[i];
        if (lane->pending == 0 || (first != NULL && first != lane)) {
            continue;
        }
        if (lane->state == TMB_USE_NONE && may_try(lane)) {
            lane->waits = is_alone(lane);
            lane->blocked_at = scheduler->let_go;
            lane->state = TMB_USE_LOADING;
            tmb_pool_post(scheduler->deliver, &lane->work, load_engine, lane);
        }
    }
}

/* ---- Letting go ---- */

bool tmb_lane_is_in_the_way(const tmb_lane *lane) {
    const tmb_scheduler *scheduler = lane->scheduler;
    if (another(lane, admits_into_nothing)) {
        return true;
    }
    tmb_context *context = scheduler->context;
    return lane->live_count == 0 && !another(lane, is_live) &&
           (tmb_budget_waits(&context->budget) || tmb_budget_waits(&context->device_budget));
}

/* How a lane's items wait for memory. */
typedef struct waiting {
    size_t count;
    bool first; /* one is the first of all: of those that wait for the host's memory, or of the device's if none does */
} waiting;

static bool waits_to_read(const tmb_lane *lane, const tmb_item *item) {
    tmb_budget *budget = &lane->scheduler->context->budget;
    return item->lane == lane && item->phase == TMB_PHASE_READING &&
           (tmb_budget_is_first(budget, &item->ticket) || tmb_budget_is_behind(budget, &item->ticket));
}

static waiting count_waiting(const tmb_lane *lane) {
    tmb_context *context = lane->scheduler->context;
    waiting out = {0};
    for (const tmb_item *item = lane->scheduler->items; item != NULL; item = item->next) {
        if (waits_to_read(lane, item)) {
            out.count++;
            out.first |= tmb_budget_is_first(&context->budget, &item->ticket);
        }
    }
    const tmb_item *item = lane->admitting;
    if (item != NULL) {
        out.count++;
        out.first |= item->device_asked ? !tmb_budget_waits(&context->budget) &&
                                              tmb_budget_is_first(&context->device_budget, &item->device_ticket)
                                        : tmb_budget_is_first(&context->budget, &item->ticket);
    }
    return out;
}

/* All that a lane has begun waits for memory, behind others, who may wait for the memory of this lane's model: its
 * items begin again later. Otherwise two lanes whose references wait would keep both models, for ever. */
static void give_way(tmb_lane *lane) {
    tmb_scheduler *scheduler = lane->scheduler;
    if (scheduler->lane_count < 2 || !is_loaded(lane) || lane->busy == 0 || !tmb_lane_is_in_the_way(lane)) {
        return;
    }
    const waiting waits = count_waiting(lane);
    if (waits.first || waits.count < lane->busy) {
        return;
    }
    for (tmb_item *item = scheduler->items; item != NULL; item = item->next) {
        if (waits_to_read(lane, item)) {
            (void)tmb_prepare_give_way(scheduler, item);
        }
    }
    if (lane->admitting != NULL) {
        tmb_lane_withdraw(lane);
    }
}

/* Whether a lane's model is nobody's for now. What was begun before another lane was blocked is ended first. */
static bool may_go(const tmb_lane *lane) {
    if (!is_loaded(lane) || lane->busy != 0) {
        return false;
    }
    if (lane->pending == 0) {
        return true;
    }
    bool has_ready = lane->ready.count != 0 || lane->returned != NULL;
    return lane->scheduler->lane_count > 1 &&
           ((another_is_blocked(lane) && !has_ready && lane->allowance == 0) || tmb_lane_is_in_the_way(lane));
}

void tmb_lanes_let_go(tmb_scheduler *scheduler) {
    for (size_t i = 0; i < scheduler->lane_count; i++) {
        tmb_lane *lane = &scheduler->lanes[i];
        give_way(lane);
        if (may_go(lane)) {
            lane->state = TMB_USE_NONE;
            lane->engine = NULL;
            scheduler->let_go++;
            tmb_registry_done(&scheduler->context->registry, TMB_MODEL_ENGINE + lane->index);
            tmb_scheduler_wake(scheduler); /* another lane may load */
        }
    }
    if (scheduler->item_count == 0 && scheduler->denoiser_state == TMB_USE_READY) {
        scheduler->denoiser_state = TMB_USE_NONE;
        scheduler->denoiser = NULL;
        tmb_registry_done(&scheduler->context->registry, TMB_MODEL_DENOISER);
    }
}
