/* The overflow lane: speech servers that take what the batch of this machine has no place for. What they fail before
 * its first audio comes back, and waits for its place here. */
#include "pipeline/scheduler_internal.h"

#include "base/text.h"
#include "tts/language.h"

/* Every place of the lane's batch is in use, or will be by items that are being prepared. With the lock held. */
static bool is_full(const tmb_lane *lane) { return lane->begun >= lane->max_batch || lane->kept_out != 0; }

/* Whether what this item asks can be had from a speech server. */
static bool may_go(const tmb_lane *over, const tmb_item *item) {
    const tmb_clone_request *public = &item->request.public;
    bool has_reference =
        item->request.source == TMB_SOURCE_VOICE ? public->ref_audio != NULL : item->request.source != TMB_SOURCE_NONE;
    return item->lane != over && !item->stays && item->voice_sink == NULL && has_reference && !public->want_codes &&
           !tmb_text_is_given(public->speaker) && !tmb_text_is_given(public->instruct) &&
           tmb_language_by_tag(public->language) != NULL;
}

/* Whether the servers can be asked at all at the moment. */
static bool answers(const tmb_lane *over) {
    return over->state != TMB_USE_READY || over->engine->operations->accepts == NULL ||
           over->engine->operations->accepts(over->engine);
}

/* Whether the overflow lane takes one more. Until it is loaded one item is sent there, which loads it. */
static bool has_room(const tmb_lane *over) {
    size_t coming = over->pending - over->ready.count;
    return over->max_batch == 0 ? coming == 0 : over->begun + coming < over->max_batch;
}

static void change_lane(tmb_item *item, tmb_lane *lane) {
    item->lane->pending--;
    item->lane = lane;
    item->lane->pending++;
}

bool tmb_overflow_holds_back(const tmb_scheduler *scheduler, const tmb_item *item) {
    const tmb_lane *over = scheduler->overflow;
    return over != NULL && may_go(over, item) && is_full(item->lane) && answers(over) && !has_room(over);
}

bool tmb_overflow_take(tmb_scheduler *scheduler, tmb_item *item) {
    tmb_lane *over = scheduler->overflow;
    if (over == NULL || !may_go(over, item) || !is_full(item->lane) || !answers(over) || !has_room(over)) {
        return false;
    }
    item->home = item->lane;
    if (item->request.source == TMB_SOURCE_VOICE) { /* what was prepared for one engine says nothing to another */
        tmb_prepare_forget(item);                   /* the voice may be open: the item's lane gave way */
        item->request.source = TMB_SOURCE_FILE;
        item->was_voice = true;
    }
    change_lane(item, over);
    return true;
}

bool tmb_overflow_return(tmb_scheduler *scheduler, tmb_item *item, const tmb_error *error) {
    if (item->home == NULL || atomic_load(&item->stop) || error->status == TMB_ERROR_MEMORY) {
        return false;
    }
    (void)pthread_mutex_lock(&item->lock);
    bool silent = item->finishing.spoken == 0;
    uint64_t reserved = item->finishing.reserved;
    if (silent) {
        item->finishing.reserved = 0;
        item->seconds[TMB_STAGE_QUEUED] = 0; /* it is counted anew, from the item's arrival */
    }
    (void)pthread_mutex_unlock(&item->lock);
    if (!silent) {
        return false;
    }
    tmb_log(&scheduler->context->logger, TMB_LOG_INFO, "the speech servers do not take an item, it is spoken here: %s",
            error->message);
    tmb_budget_release(&scheduler->context->budget, item->reserved + reserved);
    item->reserved = 0;
    tmb_voice_release(&item->preparation.voice);
    tmb_clean_release(&item->preparation.clean);
    tmb_prepare_forget(item);
    if (item->was_voice) {
        item->request.source = TMB_SOURCE_VOICE;
    }
    tmb_scheduler_phase(scheduler, item, TMB_PHASE_WAITING);
    change_lane(item, item->home);
    item->home = NULL;
    item->stays = true;
    tmb_fair_push(&scheduler->waiting, &item->entry);
    return true;
}
