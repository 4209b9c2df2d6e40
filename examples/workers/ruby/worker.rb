#!/usr/bin/env ruby
# frozen_string_literal: true

# A worker with Bunny: level 2 of docs/protocol.md.
#
# Every job runs in a thread of its own. Whatever happens, there or at the broker, becomes an event
# in one queue; the main thread takes them one by one and alone publishes and acknowledges.

require "bunny"
require "logger"
require "socket"
require_relative "handlers"

# For Bunny a slash at the end names a virtual host without a name.
URL = ENV.fetch("BROKER_QUEUE_URL", "amqp://guest:guest@localhost:5672").sub(%r{(?<=[^/])/\z}, "")
NAMESPACE = ENV.fetch("BROKER_QUEUE_NAMESPACE", "bq")
CONCURRENCY = ENV.fetch("CONCURRENCY", "4").to_i
NAME = "#{Socket.gethostname}/#{Process.pid}"

PROTOCOL = 1
STARTED_AFTER = 0.05
RETRY_CONSUME = 1
STOP_WITHIN = 30
LONGEST_PAUSE = 15
REMEMBERED = 10_000

LOG = Logger.new($stderr, progname: "worker", level: :info)
BUNNY_LOG = Logger.new($stderr, progname: "bunny", level: :fatal) # its errors are events here

# What Bunny raises when a connection fails, or has failed already.
LOSSES = [Bunny::Exception, RuntimeError, Timeout::Error, SystemCallError, IOError].freeze

# Raised in the thread of a job. No StandardError, so that no job function rescues it by accident.
class Canceled < Exception; end # rubocop:disable Lint/InheritException

# The connection, or a channel of it, is gone.
class Lost < RuntimeError; end

# Where Bunny raises what happens to a connection in the background.
Watch = Struct.new(:events) do
  def raise(error) = events << [:lost, self, error]
end

# A job that this worker holds, from its message until that is acknowledged. `message` is nil while
# the broker has taken it back because the connection was lost; `outcome` is type and body of the
# last report, from the moment in which the main thread learns of the end.
class Delivery
  attr_reader :token, :began_at
  attr_accessor :message, :outcome, :reported

  alias reported? reported

  def initialize(token, job)
    @token = token
    @job = job
    @reported = false
  end

  # Runs the job, and yields itself and the outcome once that has ended.
  def start
    @began_at = (Time.now.to_f * 1000).to_i
    # A cancel may interrupt the job function, but not the telling of how it ended. The thread inherits
    # this: else one could end it before it comes so far.
    Thread.handle_interrupt(Canceled => :never) do
      @thread = Thread.new { yield self, outcome_of_run }
    end
    @thread.report_on_exception = false
  end

  def cancel = @thread&.raise(Canceled) # there is none if it was given back before it began

  private

  def outcome_of_run
    result = Thread.handle_interrupt(Canceled => :immediate) { HANDLERS.fetch(@job.type).call(@job) }
    ["finished", JSON.generate(result)]
  rescue Canceled
    ["released", JSON.generate(reason: "canceled")]
  rescue InvalidArgs => e
    failure("invalid_args", e, retry: false)
  rescue Exception => e # whatever a job function raises is one failed attempt
    LOG.error("job of type #{@job.type} failed: #{e.full_message(highlight: false)}")
    failure(e.class.name, e)
  end

  def failure(code, error, **others)
    ["failed", JSON.generate(code:, message: error.message.scrub[0, 20_000], **others)]
  end
end

class Worker
  def initialize
    @events = Thread::Queue.new # names of methods below, each with its arguments
    @held = {}
    @waiting = []
    @running = 0
    @canceled = [] # tokens of jobs still on their way
  end

  # Serves until SIGTERM or SIGINT, over as many connections as it takes.
  def run
    %w[TERM INT].each { |signal| trap(signal) { request_stop } }
    queues = HANDLERS.keys.map { |type| "#{NAMESPACE}.jobs.#{type}" }
    LOG.info("taking jobs from #{queues.join(", ")} at #{URL.sub(%r{//.*@}, "//")}")
    pause = 0.5
    until done?
      begin
        connect
        pause = 0.5
        send(*@events.pop) until done?
        @connection.close
      rescue *LOSSES => e
        LOG.warn("connection lost, next try in #{pause} s: #{e.message}")
        abandon
        rest(pause)
        pause = [2 * pause, LONGEST_PAUSE].min
      end
    end
    LOG.info("stopped")
  end

  private

  def request_stop
    @stop_by ||= now + STOP_WITHIN
    @events << [:stop]
  end

  def done? = @stop_by && (now > @stop_by || @held.each_value.all?(&:reported?))

  def rest(seconds)
    wake = now + seconds
    sleep(0.1) until now > wake || done?
  end

  def now = Process.clock_gettime(Process::CLOCK_MONOTONIC)

  # Listens for cancels before anything else: then none falls in between.
  def connect
    @watch = Watch.new(@events)
    @connection = Bunny.new(URL, automatically_recover: false, recover_from_connection_close: false,
                                 session_error_handler: @watch, connection_name: NAME, logger: BUNNY_LOG)
    @connection.start
    @reports = open_channel
    reports = @reports
    @reports.confirm_select(->(number, _, refused) { @events << [:confirmed, reports, number, refused] })
    @confirming = {}
    control = open_channel.queue("", exclusive: true)
    HANDLERS.each_key { |type| control.bind("#{NAMESPACE}.control", routing_key: type) }
    control.subscribe { |_, properties, body| @events << [:control, properties, body] }
    @held.values.select(&:outcome).reject(&:reported?).each { |delivery| conclude(delivery) }
    @consumers = []
    HANDLERS.each_key { |type| consume(@connection, type) }
  end

  def open_channel
    channel = @connection.create_channel
    watch = @watch
    channel.on_error { |_, close| watch.raise(Lost.new(close.reply_text)) }
    channel
  end

  # Takes jobs of a type; its queue comes into being with the first of them.
  def consume(connection, type)
    return if @stop_by || !connection.equal?(@connection)

    channel = connection.create_channel
    channel.prefetch(CONCURRENCY)
    queue = channel.queue("#{NAMESPACE}.jobs.#{type}", passive: true)
    gone = ->(_) { @events << [:consume, connection, type] }
    @consumers << queue.subscribe(manual_ack: true, on_cancellation: gone) do |delivery, properties, body|
      @events << [:job, channel, delivery, properties, body]
    end
    channel.on_error { |_, close| @watch.raise(Lost.new(close.reply_text)) }
  rescue Bunny::NotFound
    later(RETRY_CONSUME, :consume, connection, type)
  end

  def job(channel, message, properties, body)
    return unless channel.connection.equal?(@connection)

    version, token = properties.headers&.fetch("protocol", nil), properties.correlation_id
    unless version.is_a?(Integer) && version <= PROTOCOL && token
      LOG.error("a job of protocol #{version.inspect} is not for this worker")
      return channel.reject(message.delivery_tag)
    end

    message = [channel, message.delivery_tag]
    return job_again(@held[token], message) if @held.key?(token)

    delivery = @held[token] = Delivery.new(token, Job.new(properties.type, body.force_encoding("UTF-8")))
    delivery.message = message
    if @canceled.include?(token) then give_back(delivery, "canceled")
    elsif @stop_by then give_back(delivery, "the worker stops")
    else
      @waiting << delivery
      begin_next
    end
  end

  def job_again(delivery, message)
    if delivery.message # this is a second copy
      channel, tag = message
      channel.ack(tag)
    else # it still runs here, or ended while there was no connection
      delivery.message = message
      tell_started(delivery)
      acknowledge(delivery)
    end
  end

  def control(properties, body)
    return unless properties.type == "cancel"

    JSON.parse(body).fetch("tokens").each do |token|
      delivery = @held[token]
      if delivery.nil? then remember_canceled(token)
      elsif @waiting.delete(delivery) then give_back(delivery, "canceled")
      else delivery.cancel
      end
    end
  rescue JSON::ParserError, KeyError => e
    LOG.error("a control message that cannot be read: #{e.message}")
  end

  def remember_canceled(token)
    @canceled << token
    @canceled.shift if @canceled.size > REMEMBERED
  end

  def begin_next
    while @running < CONCURRENCY && (delivery = @waiting.shift)
      @running += 1
      delivery.start { |*ended| @events << [:ended, *ended] }
      later(STARTED_AFTER, :tell_started, delivery)
    end
  end

  def ended(delivery, outcome)
    @running -= 1
    delivery.outcome = outcome
    conclude(delivery)
    begin_next
  end

  def tell_started(delivery)
    report(delivery, "started", JSON.generate(worker: NAME)) unless delivery.outcome
  end

  def give_back(delivery, reason)
    delivery.outcome = ["released", JSON.generate(reason:)]
    conclude(delivery)
  end

  # Publishes the last report of a job. It is acknowledged once the broker has confirmed that.
  def conclude(delivery)
    @confirming[@reports.next_publish_seq_no] = delivery
    report(delivery, *delivery.outcome)
  end

  def confirmed(channel, number, refused)
    return unless channel.equal?(@reports)
    raise Lost, "the broker refused a report" if refused

    delivery = @confirming.delete(number) or return
    delivery.reported = true
    acknowledge(delivery)
  end

  def acknowledge(delivery)
    return unless delivery.reported? && delivery.message

    channel, tag = delivery.message
    channel.ack(tag)
    @held.delete(delivery.token)
  end

  def report(delivery, kind, body)
    headers = %w[finished failed].include?(kind) ? { "started" => delivery.began_at } : {}
    @reports.basic_publish(body, "#{NAMESPACE}.reports", "reports",
                           type: kind, correlation_id: delivery.token, headers:,
                           content_type: "application/json", persistent: true)
  end

  def stop
    LOG.info("stopping, #{@running} jobs still run")
    @consumers.each(&:cancel).clear
    give_back(@waiting.shift, "the worker stops") until @waiting.empty?
    later(STOP_WITHIN, :stop)
  end

  def lost(watch, error)
    raise Lost, error.message if watch.equal?(@watch)
  end

  # The broker takes the messages back: what has not begun is forgotten, what runs goes on. What was
  # reported without a message may have gone to another worker: only the last of those are kept.
  def abandon
    @waiting.clear
    @held.keep_if { |_, delivery| delivery.began_at }
    @held.values.select(&:reported?)[...-REMEMBERED].each { |delivery| @held.delete(delivery.token) }
    @held.each_value { |delivery| delivery.message = nil }
    @connection&.transport&.close
  rescue *LOSSES
    nil # it was closed already
  end

  def later(seconds, *event)
    Thread.new do
      sleep(seconds)
      @events << event
    end
  end
end

abort "BROKER_QUEUE_URL must be amqp://user:password@host:port/vhost" unless URL.match?(%r{\Aamqps?://})
abort "CONCURRENCY must be a positive number" unless CONCURRENCY.positive?
Worker.new.run
