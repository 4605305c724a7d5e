// PostgreSQL's JDBC driver before the proxy, on a table whose columns are protected.
//
// usage: java -cp postgresql.jar Jdbc.java HOST PORT DATABASE USER PASSWORD FIRST_ID session|transaction
// (exit 0, or 1 with every problem on standard output)

import java.math.BigDecimal;
import java.sql.*;
import java.time.*;
import java.util.*;

public class Jdbc {
    static final List<String> problems = new ArrayList<>();

    static void check(String name, Object got, Object expected) {
        boolean same = got instanceof byte[] && expected instanceof byte[]
                ? Arrays.equals((byte[]) got, (byte[]) expected) : Objects.equals(got, expected);
        if (!same) problems.add(name + ": expected " + expected + ", got " + got);
    }

    interface Step { void run() throws SQLException; }

    static SQLException fails(String name, String state, Step step) {
        try {
            step.run();
            problems.add(name + " was answered");
            return null;
        } catch (SQLException e) {
            check(name, e.getSQLState(), state);
            return e;
        }
    }

    public static void main(String[] args) throws Exception {
        TimeZone.setDefault(TimeZone.getTimeZone("UTC"));
        int first = Integer.parseInt(args[5]);
        // Simple protocol; extended; prepared on the server at once, then with binary transfer.
        String[] modes = { "preferQueryMode=simple", "prepareThreshold=0", "prepareThreshold=1&binaryTransfer=true", "prepareThreshold=-1&binaryTransfer=true" };
        for (int n = 0; n < modes.length; n++) {
            try (Connection c = connect(args, modes[n])) {
                everything(c, modes[n], first + 100 * n, n == 0);
                keeps(c, modes[n], args[6].equals("session"));
            }
        }
        Properties wrong = new Properties();
        wrong.setProperty("user", args[3]);
        wrong.setProperty("password", "wrong");
        fails("a wrong password", "28P01", () -> DriverManager.getConnection(url(args, "sslmode=disable"), wrong));
        problems.forEach(System.out::println);
        System.exit(problems.isEmpty() ? 0 : 1);
    }

    static String url(String[] args, String options) {
        return "jdbc:postgresql://" + args[0] + ":" + args[1] + "/" + args[2] + "?sslmode=disable&" + options;
    }

    static Connection connect(String[] args, String options) throws SQLException {
        Properties p = new Properties();
        p.setProperty("user", args[3]);
        p.setProperty("password", args[4]);
        return DriverManager.getConnection(url(args, options), p);
    }

    /** What would have to stay on the server's connection. */
    static void keeps(Connection c, String mode, boolean session) throws Exception {
        for (String sql : new String[] { "LISTEN jobs", "SELECT pg_advisory_lock(7)" }) {
            try (Statement s = c.createStatement()) {
                if (session) {
                    s.execute(sql);
                    continue;
                }
                SQLException refused = fails(mode + ": " + sql, "0A000", () -> s.execute(sql));
                if (refused instanceof org.postgresql.util.PSQLException) {
                    String hint = ((org.postgresql.util.PSQLException) refused).getServerErrorMessage().getHint();
                    if (hint == null || !hint.contains("pool_mode")) problems.add(mode + ": " + sql + " refused without a hint");
                }
            }
        }
    }

    static void everything(Connection c, String mode, int id, boolean simple) throws Exception {
        byte[] bytes = { 0, 1, 2, -1, -2, 92, 39 };
        UUID uuid = UUID.fromString("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11");
        OffsetDateTime moment = OffsetDateTime.of(2026, 11, 23, 12, 34, 56, 789012000, ZoneOffset.UTC);
        String text = "Zoë's “text” \\ with\nlines";
        String insert = "INSERT INTO things (id, v_text, v_int4, v_int8, v_float8, v_bool, v_date, v_timestamptz, v_numeric, v_uuid, v_bytea, v_jsonb, v_varchar, secret)"
                + " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, " + (simple ? "?::bytea" : "?") + ", ?::jsonb, ?, ?)";
        try (PreparedStatement s = c.prepareStatement(insert)) {
            s.setInt(1, id);
            s.setString(2, text);
            s.setInt(3, Integer.MIN_VALUE);
            s.setLong(4, Long.MAX_VALUE);
            s.setDouble(5, 0.1);
            s.setBoolean(6, true);
            s.setObject(7, LocalDate.of(1999, 12, 31));
            s.setObject(8, moment);
            s.setBigDecimal(9, new BigDecimal("-12345.6789"));
            s.setObject(10, uuid);
            // In simple mode the driver has no way to write bytes.
            if (simple) s.setString(11, "\\x000102fffe5c27"); else s.setBytes(11, bytes);
            s.setString(12, "{\"a\": [1, 2.5, null]}");
            s.setString(13, "twenty characters ok");
            s.setString(14, "nobody searches this");
            check(mode + ": rows inserted", s.executeUpdate(), 1);
        }
        // Often enough that the driver turns to a named statement and to binary results.
        for (int n = 0; n < 7; n++) {
            try (PreparedStatement s = c.prepareStatement("SELECT * FROM things WHERE id = ?")) {
                s.setInt(1, id);
                ResultSet r = s.executeQuery();
                r.next();
                check(mode + ": text", r.getString("v_text"), text);
                check(mode + ": int4", r.getInt("v_int4"), Integer.MIN_VALUE);
                check(mode + ": int8", r.getLong("v_int8"), Long.MAX_VALUE);
                check(mode + ": float8", r.getDouble("v_float8"), 0.1);
                check(mode + ": bool", r.getBoolean("v_bool"), true);
                check(mode + ": date", r.getObject("v_date", LocalDate.class), LocalDate.of(1999, 12, 31));
                check(mode + ": timestamptz", r.getObject("v_timestamptz", OffsetDateTime.class).toInstant(), moment.toInstant());
                check(mode + ": numeric", r.getBigDecimal("v_numeric"), new BigDecimal("-12345.6789"));
                check(mode + ": uuid", r.getObject("v_uuid"), uuid);
                check(mode + ": bytea", r.getBytes("v_bytea"), bytes);
                check(mode + ": jsonb", r.getString("v_jsonb"), "{\"a\": [1, 2.5, null]}");
                check(mode + ": varchar", r.getString("v_varchar"), "twenty characters ok");
                check(mode + ": opaque", r.getString("secret"), "nobody searches this");
                check(mode + ": no plain note", r.getString("note"), null);
                ResultSetMetaData m = r.getMetaData();
                check(mode + ": columns", m.getColumnCount(), 15);
                check(mode + ": a type", m.getColumnType(2), Types.VARCHAR);
                // This one asks the catalogue.
                check(mode + ": a type name", m.getColumnTypeName(2), "text");
                check(mode + ": precision", m.getPrecision(9) + "," + m.getScale(9), "14,4");
            }
        }
        String[] searches = { "v_text", "v_int4", "v_int8", "v_float8", "v_bool", "v_date", "v_numeric", "v_uuid", "v_bytea", "v_varchar" };
        Object[] values = { text, Integer.MIN_VALUE, Long.MAX_VALUE, 0.1, true, LocalDate.of(1999, 12, 31), new BigDecimal("-12345.6789"), uuid, bytes, "twenty characters ok" };
        for (int n = 0; n < searches.length; n++) {
            if (simple && values[n] == bytes) continue;
            try (PreparedStatement s = c.prepareStatement("SELECT id FROM things WHERE " + searches[n] + " = ? AND id = ?")) {
                s.setObject(1, values[n]);
                s.setInt(2, id);
                ResultSet r = s.executeQuery();
                check(mode + ": search of " + searches[n], r.next() ? r.getInt(1) : null, id);
            }
        }
        try (PreparedStatement s = c.prepareStatement("SELECT id FROM things WHERE v_int4 = ANY (?) AND id = ?")) {
            s.setArray(1, c.createArrayOf("int4", new Integer[] { 5, Integer.MIN_VALUE }));
            s.setInt(2, id);
            ResultSet r = s.executeQuery();
            check(mode + ": = ANY", r.next() ? r.getInt(1) : null, id);
        }
        // NULL and '', in a batch.
        try (PreparedStatement s = c.prepareStatement("INSERT INTO things (id, v_text, v_int8) VALUES (?, ?, ?)")) {
            for (int n = 1; n <= 20; n++) {
                s.setInt(1, id + n);
                s.setString(2, n == 1 ? "" : n == 2 ? null : "batch " + n);
                if (n % 2 == 0) s.setNull(3, Types.BIGINT); else s.setLong(3, n);
                s.addBatch();
            }
            check(mode + ": a batch", Arrays.stream(s.executeBatch()).sum(), 20);
        }
        try (Statement s = c.createStatement(); ResultSet r = s.executeQuery("SELECT v_text, v_int8 FROM things WHERE id IN (" + (id + 1) + ", " + (id + 2) + ") ORDER BY id")) {
            r.next();
            check(mode + ": ''", r.getString(1), "");
            check(mode + ": a number", r.getLong(2), 1L);
            r.next();
            check(mode + ": NULL", r.getString(1), null);
            r.getLong(2);
            check(mode + ": NULL number", r.wasNull(), true);
        }
        // Errors, then the connection goes on.
        try (Statement s = c.createStatement()) {
            fails(mode + ": a foreign relation", "42P01", () -> s.executeQuery("SELECT * FROM sys_account.accounts"));
            fails(mode + ": a division", "22012", () -> s.executeQuery("SELECT 1 / 0"));
            SQLException refused = fails(mode + ": a function", "42501", () -> s.executeQuery("SELECT pg_read_file('x')"));
            if (refused instanceof org.postgresql.util.PSQLException) {
                String hint = ((org.postgresql.util.PSQLException) refused).getServerErrorMessage().getHint();
                if (hint == null || hint.isEmpty()) problems.add(mode + ": a refusal without a hint");
            }
            ResultSet r = s.executeQuery("SELECT 1");
            r.next();
            check(mode + ": after errors", r.getInt(1), 1);
        }
        // Transactions, savepoints, and a large result through a cursor of the driver's (portals that are suspended).
        c.setAutoCommit(false);
        try (Statement s = c.createStatement()) {
            s.executeUpdate("UPDATE things SET v_text = 'changed' WHERE id = " + id);
            Savepoint p = c.setSavepoint();
            fails(mode + ": inside", "22012", () -> s.executeQuery("SELECT 1 / 0"));
            c.rollback(p);
            ResultSet r = s.executeQuery("SELECT v_text FROM things WHERE id = " + id);
            r.next();
            check(mode + ": after a savepoint", r.getString(1), "changed");
            c.rollback();
            s.setFetchSize(300);
            r = s.executeQuery("SELECT v_text, n FROM things, generate_series(1, 2000) AS g(n) WHERE id = " + id);
            int rows = 0;
            while (r.next()) {
                rows++;
                if (!text.equals(r.getString(1))) { problems.add(mode + ": a row of a large result"); break; }
            }
            check(mode + ": a large result", rows, 2000);
            c.commit();
        }
        c.setAutoCommit(true);
        // Cancel.
        try (Statement s = c.createStatement()) {
            Thread killer = new Thread(() -> {
                try { Thread.sleep(500); s.cancel(); } catch (Exception e) { problems.add("cancel: " + e); }
            });
            killer.start();
            fails(mode + ": a cancelled query", "57014", () -> s.executeQuery("SELECT count(*) FROM generate_series(1, 100000000) a"));
            killer.join();
            ResultSet r = s.executeQuery("SELECT 1");
            r.next();
            check(mode + ": after a cancel", r.getInt(1), 1);
            check(mode + ": rows deleted", s.executeUpdate("DELETE FROM things WHERE id >= " + id + " AND id < " + (id + 100)), 21);
        }
    }
}
