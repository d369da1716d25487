// Timers.

#pragma once

#include <boost/intrusive/list.hpp>
#include <iterator>
#include <optional>
#include <vector>

#include "proxy/engine/engine.h"

namespace fairlead {

/// What is waiting for its time. Embed one for each timer an object needs; destroying it ends the
/// wait. Not copyable.
struct Deadline
    : boost::intrusive::list_base_hook<boost::intrusive::link_mode<boost::intrusive::auto_unlink>> {
  TimeMs due = 0;
};

/// Deadlines that share one duration. Since each is set to now + duration, the list is always in
/// order of time: setting, moving and ending are O(1), and the next one due is the front. In order
/// of last use it is an LRU list, too.
class DeadlineList {
 public:
  /// `expired` is called from Deadlines::run() for each deadline that has passed, already taken off
  /// the list; it may set it again and may destroy it.
  class Owner {
   public:
    virtual void on_deadline(Deadline& deadline) = 0;

   protected:
    ~Owner() = default;
  };

  DeadlineList(Owner& owner, TimeMs duration_ms) : owner_(owner), duration_ms_(duration_ms) {}

  /// Sets the deadline, or moves it, to now + duration.
  void set(Deadline& deadline, TimeMs now) {
    deadline.unlink();
    deadline.due = now + duration_ms_;
    list_.push_back(deadline);
  }

  /// Sets the deadline to the time that it has been set to on another list of this duration. Costs
  /// a step for each deadline of this list that is due later.
  void take_over(Deadline& deadline) {
    auto position = list_.end();
    while (position != list_.begin() && std::prev(position)->due > deadline.due) --position;
    list_.insert(position, deadline);
  }

  bool empty() const { return list_.empty(); }
  /// The one due first: the least recently set. REQUIRES: not empty.
  Deadline& front() { return list_.front(); }
  TimeMs duration_ms() const { return duration_ms_; }

  void run(TimeMs now) {
    while (!list_.empty() && list_.front().due <= now) {
      Deadline& deadline = list_.front();
      deadline.unlink();
      owner_.on_deadline(deadline);
    }
  }

 private:
  Owner& owner_;
  TimeMs duration_ms_;
  boost::intrusive::list<Deadline, boost::intrusive::constant_time_size<false>> list_;
};

/// The timers of one loop: a handful of lists, looked at in turn.
class Deadlines {
 public:
  void add(DeadlineList& list) { lists_.push_back(&list); }
  void remove(DeadlineList& list) { std::erase(lists_, &list); }

  /// When the next one is due; nothing while none is set, so that an idle loop sleeps for good.
  std::optional<TimeMs> next() const {
    std::optional<TimeMs> earliest;
    for (DeadlineList* list : lists_) {
      if (list->empty()) continue;
      const TimeMs due = list->front().due;
      if (!earliest || due < *earliest) earliest = due;
    }
    return earliest;
  }

  void run(TimeMs now) {
    for (DeadlineList* list : lists_) list->run(now);
  }

 private:
  std::vector<DeadlineList*> lists_;
};

}  // namespace fairlead
