-- A journal of schema version 1 with a row or two in each table, as it was on PostgreSQL; on SQLite SERIAL was INTEGER.
-- Never changed: later versions have to open it.
CREATE TABLE day (
    day TEXT NOT NULL,
    start_equity TEXT NOT NULL,
    PRIMARY KEY (day)
);
CREATE TABLE equity (
    seq SERIAL NOT NULL,
    at_ms BIGINT NOT NULL,
    equity TEXT NOT NULL,
    available TEXT NOT NULL,
    PRIMARY KEY (seq)
);
CREATE INDEX equity_at_ms ON equity (at_ms);
CREATE TABLE event (
    seq SERIAL NOT NULL,
    at_ms BIGINT NOT NULL,
    kind TEXT NOT NULL,
    symbol TEXT NOT NULL,
    message TEXT NOT NULL,
    PRIMARY KEY (seq)
);
CREATE TABLE fill (
    trade_id TEXT NOT NULL,
    order_id TEXT NOT NULL,
    symbol TEXT NOT NULL,
    side TEXT NOT NULL,
    quantity TEXT NOT NULL,
    price TEXT NOT NULL,
    fee TEXT NOT NULL,
    ts_ms BIGINT NOT NULL,
    kind TEXT,
    client_oid TEXT NOT NULL,
    booked_ms BIGINT NOT NULL,
    PRIMARY KEY (trade_id, symbol)
);
CREATE INDEX fill_ts_ms ON fill (ts_ms);
CREATE INDEX ix_fill_client_oid ON fill (client_oid);
CREATE TABLE intent (
    seq SERIAL NOT NULL,
    client_oid TEXT NOT NULL,
    position_id TEXT NOT NULL,
    symbol TEXT NOT NULL,
    purpose TEXT NOT NULL,
    state TEXT NOT NULL,
    order_id TEXT DEFAULT '' NOT NULL,
    request TEXT NOT NULL,
    "plan" TEXT,
    created_ms BIGINT NOT NULL,
    updated_ms BIGINT NOT NULL,
    PRIMARY KEY (seq),
    CONSTRAINT state_is_known CHECK (state IN ('intended', 'accepted', 'rejected', 'unknown', 'not_placed', 'done')),
    CONSTRAINT purpose_is_known CHECK (purpose IN ('e', 'x', 's')),
    UNIQUE (client_oid)
);
CREATE INDEX ix_intent_position_id ON intent (position_id);
CREATE INDEX ix_intent_state ON intent (state);
CREATE UNIQUE INDEX one_entry_under_way ON intent (symbol) WHERE purpose = 'e' AND state IN ('intended', 'unknown', 'accepted');
CREATE TABLE meta (
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (name)
);
CREATE TABLE position (
    position_id TEXT NOT NULL,
    symbol TEXT NOT NULL,
    side TEXT NOT NULL,
    state TEXT NOT NULL,
    quantity TEXT NOT NULL,
    initial_quantity TEXT NOT NULL,
    multiplier TEXT NOT NULL,
    entry_price TEXT NOT NULL,
    initial_stop_price TEXT NOT NULL,
    stop_price TEXT NOT NULL,
    stop_reason TEXT NOT NULL,
    best_price TEXT NOT NULL,
    atr TEXT NOT NULL,
    opened_ms BIGINT NOT NULL,
    leverage TEXT,
    steps_taken BIGINT,
    fee TEXT,
    realised_pnl TEXT,
    exit_value TEXT,
    exit_attempt BIGINT,
    stop_attempt BIGINT,
    protective_stop TEXT,
    exit_reason TEXT,
    strategy TEXT,
    reasons TEXT,
    updated_ms BIGINT NOT NULL,
    PRIMARY KEY (position_id),
    CONSTRAINT state_is_known CHECK (state IN ('open', 'closing', 'closed')),
    CONSTRAINT side_is_known CHECK (side IN ('long', 'short'))
);
CREATE INDEX position_state ON position (state);
CREATE TABLE trade (
    position_id TEXT NOT NULL,
    symbol TEXT NOT NULL,
    side TEXT NOT NULL,
    quantity TEXT NOT NULL,
    entry_price TEXT NOT NULL,
    exit_price TEXT NOT NULL,
    opened_ms BIGINT NOT NULL,
    closed_ms BIGINT NOT NULL,
    exit_reason TEXT NOT NULL,
    fee TEXT NOT NULL,
    funding TEXT NOT NULL,
    realised_pnl TEXT NOT NULL,
    r_multiple TEXT NOT NULL,
    strategy TEXT,
    PRIMARY KEY (position_id),
    CONSTRAINT side_is_known CHECK (side IN ('long', 'short'))
);
CREATE INDEX trade_closed_ms ON trade (closed_ms);
INSERT INTO "day" VALUES('2026-11-24','1000.10');
INSERT INTO equity (at_ms, equity, available) VALUES(1700000000000,'1000.10','900');
INSERT INTO event (at_ms, kind, symbol, message) VALUES(1700000000000,'note','BTC/USDT:USDT','it''s an "event"');
INSERT INTO "fill" VALUES('t1','o1','BTC/USDT:USDT','sell','600','64000.10','0.46080072',1700000000100,'trade','rad-p1-e0',1700000000000);
INSERT INTO intent (client_oid, position_id, symbol, purpose, state, order_id, request, "plan", created_ms, updated_ms) VALUES('rad-p1-e0','p1','BTC/USDT:USDT','e','accepted','o1','{"client_oid": "rad-p1-e0", "symbol": "BTC/USDT:USDT", "side": "sell", "quantity": "1200.0", "leverage": "3", "price": "63990.0", "immediate_or_cancel": true, "reduce_only": false, "close_order": false, "stop_price": null, "stop_is_below": false, "margin_mode": "isolated", "remark": ""}','{"position_id": "p1", "client_oid": "rad-p1-e0", "symbol": "BTC/USDT:USDT", "side": "short", "quantity": "1200.0", "price": "64000", "worst_price": "63900", "stop_price": "65000", "notional": "76680.00", "leverage": "3", "atr": "120.50", "planned_ms": 1700000000000, "strategy": "trend", "reasons": ["one", "two"]}',1700000000000,1700000000000);
INSERT INTO "meta" VALUES('schema','1');
INSERT INTO "meta" VALUES('label','test');
INSERT INTO "meta" VALUES('peak_equity','1000.10');
INSERT INTO "position" VALUES('p1','BTC/USDT:USDT','short','open','1E+3','1200.0','0.001','64000.10','65000','63900.5','trailing_stop','63000.00000001','120.50',1700000000000,'3',1,'0.12345678901234567890','-1.50','12.8',2,5,'{"client_oid": "rad-p1-s5", "order_id": "o5", "stop_price": "63910", "confirmed_ms": 1700000000500}','max_age','trend','["EMA 9 below 21", "\u00fcn\u00efcode, ''quotes'' and \"more\""]',1700000000000);
INSERT INTO "position" VALUES('p0','BTC/USDT:USDT','short','closed','1E+3','1200.0','0.001','64000.10','65000','63900.5','trailing_stop','63000.00000001','120.50',1700000000000,'3',1,'0.12345678901234567890','-1.50','12.8',2,5,'{"client_oid": "rad-p1-s5", "order_id": "o5", "stop_price": "63910", "confirmed_ms": 1700000000500}','max_age','trend','["EMA 9 below 21", "\u00fcn\u00efcode, ''quotes'' and \"more\""]',1700000000000);
INSERT INTO "trade" VALUES('p0','BTC/USDT:USDT','short','1200.0','64000.10','63900.5',1700000000000,1700000060000,'trailing_stop','0.92','-0.01','118.5900','0.0996','trend');
